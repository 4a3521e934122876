"""The command ``sdcpc compare``: evaluations of several models side by side."""

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sdcpc_core.arguments import add_output_arguments
from sdcpc_core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from sdcpc_core.comparison.evaluations import Group
    from sdcpc_core.comparison.strip import Strip
    from sdcpc_core.data.dataset import DataSet

REPORT = "compare.json"


def compare(argv: list[str]) -> None:
    """Set evaluations side by side: figures, differences with their intervals, pictures."""
    arguments = _parse(argv)
    if arguments.out is None and (arguments.frames or arguments.root):
        raise ConfigError("--frames and --root are for the pictures; say with --out where to write them")

    from rich.console import Console

    from sdcpc_core.comparison.evaluations import read_groups
    from sdcpc_core.comparison.figures import measure
    from sdcpc_core.comparison.page import comparison_page
    from sdcpc_core.comparison.report import comparison_report, notes, terminal_tables, title
    from sdcpc_core.output import atomic_output, check_output, output_errors
    from sdcpc_core.report import check_report, holds_report, json_text, run_facts, write_report

    is_ours = partial(holds_report, name=REPORT)
    if arguments.out:
        check_output(arguments.out, overwrite=arguments.overwrite, is_ours=is_ours)
    check_report(arguments.json, out=arguments.out)
    groups = read_groups(arguments.evaluations, arguments.names)
    data = _open_data(groups, arguments.root) if arguments.out else None
    strip = _make_strip(data, groups, arguments.frames) if data else None
    measured = measure(groups)
    console = Console(highlight=False)
    console.print(title(groups), markup=False)
    console.print(*terminal_tables(groups, measured))
    console.print(notes(groups), style="dim", markup=False)
    report = {**run_facts(vars(arguments)), **comparison_report(groups, measured)}
    unseen = [group.name for group in groups if not group.members[0].labels]
    if data and unseen:
        console.print(
            f"No label maps were kept of {', '.join(unseen)}: not in the pictures.", style="dim", markup=False
        )
    if data:
        facts = {"command": shlex.join(["sdcpc", "compare", *argv]), "commit": report["commit"] or "not a checkout"}
        html = comparison_page(groups, measured, strip, facts)
        with (
            atomic_output(arguments.out, overwrite=arguments.overwrite, is_ours=is_ours) as folder,
            output_errors(arguments.out),
        ):
            folder.mkdir()
            (folder / REPORT).write_text(json_text(report), encoding="utf-8")
            (folder / "compare.html").write_text(html, encoding="utf-8")
            if strip:
                (folder / "strip.png").write_bytes(_png(strip))
    if arguments.json:
        write_report(arguments.json, report)


def _open_data(groups: "Sequence[Group]", root: Path | None) -> "DataSet":
    """Open the split that the evaluations are of.

    Raises:
        InputError: it is not where it was, or has changed.
    """
    from sdcpc_core.data.kinds import open_data_set

    first = groups[0].members[0]
    config = first.report["config"]
    root = root or Path(config["root"])
    if not root.is_dir():
        raise InputError(f"{root} is not there, which held the data of {first.title}; pass --root DIR")
    data = open_data_set(config["data"], root, config["split"])
    if data.labels.names != first.class_names or len(data.labelled) != first.report["frames"]:
        raise InputError(
            f"{root} holds {len(data.labelled)} labelled frames of {data.labels.num_classes} classes, {first.title} is "
            f"of {first.report['frames']} of {len(first.class_names)}; pass --root DIR"
        )
    return data


def _make_strip(data: "DataSet", groups: "Sequence[Group]", frames: Sequence[str] | None) -> "Strip | None":
    """Read the pictures of the first member of each group that has label maps; None where none has."""
    from sdcpc_core.comparison.strip import candidates, find_frames, make_strip, most_different
    from sdcpc_core.progress import progress

    indices = find_frames(data, frames) if frames else None
    folders = {group.name: group.members[0].labels for group in groups if group.members[0].labels}
    if not folders:
        return None
    if indices is None:
        with progress(candidates(data), "where do they differ") as shown:
            indices = most_different(data, list(folders.values()), shown)
    return make_strip(data, folders, indices)


def _png(strip: "Strip") -> bytes:
    import cv2

    from sdcpc_core.visualization import picture_sheet

    sheet = picture_sheet(strip.headings, strip.captions, strip.pictures, strip.labels)
    return cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc compare", description=compare.__doc__)
    parser.add_argument(
        "evaluations",
        metavar="FOLDER[:PASS][,FOLDER…]",
        nargs="+",
        help="written by sdcpc evaluate --out; the others are compared with the first. :PASS takes another pass than "
        "the main one, e.g. :self. Folders between commas are one model, trained with several seeds",
    )
    parser.add_argument("--names", metavar="NAME", nargs="+", help="what to call them (default: their folders)")
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"write {REPORT}, compare.html and strip.png here")
    parser.add_argument(
        "--frames", metavar="NAME", nargs="+", help="names of the frames to show (default: where they differ most)"
    )
    parser.add_argument("--root", metavar="DIR", type=Path, help="folder of the data set, if it moved")
    add_output_arguments(parser)
    return parser.parse_args(argv)
