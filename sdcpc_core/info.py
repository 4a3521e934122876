"""The command ``sdcpc info``: what a model costs, and what a checkpoint holds."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.arguments import size_hw
from sdcpc_core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from sdcpc_core.checkpoint import CheckpointHeader
    from sdcpc_core.cost import ModelCost
    from sdcpc_core.models import VideoModel

GIGA = 10**9
DEFAULT_SIZE_HW = (480, 853)
DEFAULT_NUM_CLASSES = 19


def info(argv: list[str]) -> None:
    """Show what a model costs, part by part, and what a checkpoint holds."""
    arguments = _parse(argv)

    from rich.console import Console

    from sdcpc_core.checkpoint import default_checkpoint, load_checkpoint
    from sdcpc_core.cost import model_cost
    from sdcpc_core.report import check_report, run_facts, write_report

    check_report(arguments.json)
    held = {}
    console = Console(highlight=False)
    if arguments.model is not None:
        name, size = arguments.model, arguments.size or DEFAULT_SIZE_HW
        model = _build(name, arguments.num_classes, dict(arguments.option))
        cost = model_cost(model, size, arguments.frames)
    else:
        path = arguments.checkpoint or default_checkpoint()
        model, header = load_checkpoint(path)
        name, size = header.model_name, arguments.size or header.working_size_hw
        cost = model_cost(model, size, arguments.frames)
        held = {"checkpoint": {"file": str(path), "bytes": path.stat().st_size, **json.loads(header.to_json())}}
        console.print(_contents(path, header))
    console.print(_cost_table(name, model.num_classes, cost))
    console.print(_explanation(cost), style="dim")
    if arguments.json:
        facts = {"model": {"name": name, "options": model.options}, "num_classes": model.num_classes}
        report = {**run_facts(vars(arguments)), **held, **facts, **_cost_report(cost)}
        write_report(arguments.json, report)


def _build(name: str, num_classes: int | None, options: Mapping[str, Any]) -> "VideoModel":
    import torch

    from sdcpc_core.models import build_model

    with torch.device("meta"):
        return build_model(name, DEFAULT_NUM_CLASSES if num_classes is None else num_classes, **options)


def _cost_report(cost: "ModelCost") -> dict[str, Any]:
    total = cost.total
    return {
        "size_hw": list(cost.size_hw),
        "frames": cost.frames,
        **total.to_dict(),
        "parts": {name: part.to_dict() for name, part in cost.parts.items()},
        "stream_over_clip_macs": round(total.stream.macs / total.clip.macs, 4),
    }


def _cost_table(name: str, num_classes: int, cost: "ModelCost") -> "Table":
    from rich.table import Table

    height, width = cost.size_hw
    table = Table(title=f"{name}, {height}x{width}, K = {num_classes}", show_footer=True)
    total = cost.total
    clip = "one frame" if cost.frames == 1 else f"clip of {cost.frames}"
    table.add_column("", "whole", no_wrap=True)
    columns = [("parameters\nM", f"{total.params / 1e6:.2f}")]
    for heading, operations in ((clip, total.clip), ("stream", total.stream)):
        columns += [(f"{heading}\nG", _giga(operations.macs)), ("attention\nG", _giga(operations.attention))]
    if cost.frames == 1:
        columns = columns[:3]
    for heading, footer in columns:
        table.add_column(heading, footer, justify="right")
    for part, figures in cost.parts.items():
        cells = [f"{figures.params / 1e6:.2f}"]
        for operations in (figures.clip, figures.stream):
            cells += [_giga(operations.macs), _giga(operations.attention)]
        table.add_row(part, *cells[: len(columns)])
    return table


def _giga(macs: int) -> str:
    return f"{macs / GIGA:.2f}" if macs else "–"


def _explanation(cost: "ModelCost") -> str:
    lines = ["G: 10^9 multiply-accumulates. Attention: products between tokens, on top."]
    if cost.frames > 1:
        ratio = cost.total.stream.macs / cost.total.clip.macs
        lines.append(f"Stream: per frame, which it encodes once; {100 * ratio:.0f} % of a clip.")
    return "\n".join(lines)


def _contents(path: Path, header: "CheckpointHeader") -> "RenderableType":
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    labels = header.labels
    height, width = header.working_size_hw
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    rows = [
        ("checkpoint", f"{path} ({path.stat().st_size / 2**20:.1f} MiB)"),
        ("model", header.model_name),
        ("options", _listed(header.model_options)),
        ("works at", f"{height}x{width}"),
        *_flat(header.provenance),
        ("classes", f"{labels.num_classes} of label set {labels.name}; moving: {', '.join(labels.dynamic) or 'none'}"),
    ]
    for key, value in rows:
        grid.add_row(Text(key), Text(value))
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in labels.palette]
    classes = [
        Text.assemble(("■ ", colour), f"{index} {name} ", (colour, "dim"))
        for index, (name, colour) in enumerate(zip(labels.names, colours, strict=True))
    ]
    return Group(grid, Columns(classes, equal=True, column_first=True), "")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    # One line for each group of settings, not one for each setting.
    for key, value in values.items():
        if not isinstance(value, Mapping):
            yield f"{prefix}{key}", _text(value)
        elif any(isinstance(inner, Mapping) for inner in value.values()):
            yield from _flat(value, f"{prefix}{key}.")
        elif value:
            yield f"{prefix}{key}", _listed(value)


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_text(value)}" for key, value in settings.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as num_points=9")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc info", description=info.__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="NAME", help="a model by name, e.g. sdcpc_mit_b1")
    which.add_argument("--checkpoint", metavar="FILE", type=Path, help="default: the one that comes with the package")
    parser.add_argument("--num-classes", type=int, metavar="K", help="of --model (default: 19)")
    parser.add_argument(
        "--option", type=_option, action="append", default=[], metavar="KEY=VALUE",
        help="of --model, e.g. linear_attention=false; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=size_hw, metavar="HxW", help="frame size (default: 480x853, or what the checkpoint works at)"
    )
    parser.add_argument("--frames", type=int, metavar="T", help="of a clip (default: all that the model takes)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what the terminal shows")
    arguments = parser.parse_args(argv)
    if arguments.model is None and (arguments.num_classes is not None or arguments.option):
        raise ConfigError("--num-classes and --option go with --model; a checkpoint holds its own")
    return arguments
