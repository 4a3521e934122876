"""The command ``sdcpc benchmark``."""

import argparse
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sdcpc_core.arguments import positive_number, size_hw
from sdcpc_core.benchmark.setting import SUITE_MINUTES, SUITES, Cell, Setting, check_setting, matrix, suite
from sdcpc_core.errors import ConfigError, MissingDependencyError, SdcpcError

if TYPE_CHECKING:
    from sdcpc_core.benchmark.profile import Profile

T = TypeVar("T")

MATRIX_OPTIONS = ("model", "size", "num_classes", "precision", "cameras", "points", "compile", "profile")
"""What a suite brings itself."""
ROUNDS = {"cpu": 20, "cuda": 100}
"""By default: as many as end within minutes."""


def benchmark(argv: list[str]) -> None:
    """Time streaming SD-CPC beside the Hugging Face SegFormer, from bytes to labels, in one run."""
    arguments = _parse(argv)
    import torch

    from sdcpc_core.report import check_report, device_name, report_place, write_report
    from sdcpc_core.streaming import find_device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    wanted = {"cpu": "cpu", "gpu": "cuda"}.get(arguments.suite) if arguments.device == "auto" else None
    device = find_device(wanted or arguments.device)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
    arguments.rounds = arguments.rounds or ROUNDS[device.type]
    cells = _cells(arguments, str(device))
    for cell in cells:
        check_setting(cell.setting)
    date = datetime.now(timezone.utc)
    place = report_place(arguments.json, device_name(device), date)
    for path in (place, arguments.page):
        check_report(path)
    if arguments.page:
        _check_pages()
    report = {
        **_facts(arguments),
        "date": date.isoformat(timespec="seconds"),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "cells": [],
        "failed": [],
        "left_out": [],
    }
    print(report["device_name"], flush=True)
    for figures in _measured(cells, arguments, report):
        report["cells"].append(figures)
        if place:
            # After every cell: what is measured is kept, whatever ends the run.
            write_report(place, report)
    if place:
        write_report(place, report)
        print(f"written to {place}")
    if arguments.page:
        _write_page(arguments.page, report)
    if report["failed"]:
        raise SystemExit("\n".join(["failed:", *report["failed"]]))


def _measured(
    cells: list[Cell], arguments: argparse.Namespace, report: dict[str, list[str]]
) -> Iterator[dict[str, Any]]:
    """Figures of one cell after the other, told as they come; the report learns what failed and what was left out."""
    from sdcpc_core.benchmark.figures import cell_figures
    from sdcpc_core.benchmark.text import cell_lines
    from sdcpc_core.benchmark.timing import time_cell

    minutes = arguments.minutes or SUITE_MINUTES.get(arguments.suite)
    end_s = time.monotonic() + minutes * 60 if minutes else float("inf")
    longest_s = {True: 0.0, False: 0.0}  # compiled or not: one says nothing of how long the other takes
    for number, cell in enumerate(cells):
        start_s = time.monotonic()
        # The first cell is always measured.
        if number and start_s + longest_s[cell.compiled] > end_s:
            report["left_out"] += [str(cell.setting) for cell in cells[number:]]
            print(f"\nthe time is up: {len(cells) - number} of {len(cells)} settings are left out")
            return
        print(f"\n[{number + 1}/{len(cells)}] {cell.setting.model}: {cell.setting}", flush=True)
        if cell.setting.mit_size is None:
            print("the Hugging Face SegFormer has no such backbone: the stream is timed beside ours alone")
        samples = time_cell(cell, arguments.rounds, end_s=end_s)
        report["failed"] += [f"{cell.setting}: {name}: {of.failure}" for name, of in samples.items() if of.failure]
        wants_split = cell.profiled and time.monotonic() < end_s
        split = _profile(cell.setting, arguments.rounds, report["failed"]) if wants_split else None
        figures = cell_figures(cell.setting, samples, split)
        print(*cell_lines(figures), sep="\n", flush=True)
        longest_s[cell.compiled] = max(longest_s[cell.compiled], time.monotonic() - start_s)
        yield figures


def _profile(setting: Setting, rounds: int, failed: list[str]) -> "Profile | None":
    """Split the steps; where that breaks down, say so and keep what else is measured."""
    from sdcpc_core.benchmark.profile import profile

    try:
        return profile(setting, rounds)
    except SdcpcError:
        raise
    except Exception as err:
        traceback.print_exc()
        failed.append(f"{setting}: profile: {err!r}")
        return None


def _cells(arguments: argparse.Namespace, device: str) -> list[Cell]:
    if arguments.suite:
        return suite(arguments.suite, device)
    return matrix(
        arguments.model,
        arguments.size,
        arguments.num_classes,
        device,
        arguments.precision,
        arguments.cameras,
        arguments.points,
        compiled=arguments.compile,
        profiled=arguments.profile,
    )


def _facts(arguments: argparse.Namespace) -> dict[str, Any]:
    from sdcpc_core.report import run_facts, version_of

    facts = run_facts(vars(arguments))
    # The peer, and what both run on.
    facts["versions"] |= {name: version_of(name) for name in ("transformers", "triton")}
    return facts


def _check_pages() -> None:
    try:
        import jinja2  # noqa: F401
    except ImportError as err:
        raise MissingDependencyError(f"--page needs jinja2 ({err}): pip install '.[report]' in the checkout") from err


def _write_page(path: Path, report: dict[str, Any]) -> None:
    from sdcpc_core.benchmark.page import benchmark_page
    from sdcpc_core.output import atomic_output

    with atomic_output(path, overwrite=True) as draft:
        draft.write_text(benchmark_page(report), encoding="utf-8")


def _listed(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    def values(text: str) -> list[T]:
        return [read(part) for part in text.split(",")]

    return values


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sdcpc benchmark",
        description=f"{benchmark.__doc__} Several values, with commas between them, make a matrix.",
    )
    parser.add_argument("--model", type=_listed(str), default=["sdcpc_mit_b0"], help="default: sdcpc_mit_b0")
    parser.add_argument(
        "--size", type=_listed(size_hw), default=[(480, 853)], metavar="HxW", help="of a frame (default: 480x853)"
    )
    parser.add_argument("--num-classes", type=_listed(int), default=[19], metavar="K", help="default: 19")
    parser.add_argument(
        "--precision", type=_listed(str), default=["fp32"], help="of fp32, bf16 and fp16 (default: fp32)"
    )
    parser.add_argument(
        "--cameras", type=_listed(int), default=[1], metavar="N", help="that share each step (default: 1)"
    )
    parser.add_argument(
        "--points", type=_listed(int), default=[None], metavar="P", help="of the attention (default: the model's own)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="also SegFormer under torch.compile, which takes a minute or more"
    )
    parser.add_argument("--profile", action="store_true", help="also where the time goes, and the floor of each part")
    parser.add_argument(
        "--suite", choices=SUITES, help="instead of a matrix: what the figures of the project are made of"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    rounds = "timed steps of each contender (default: {cpu} on the CPU, {cuda} on CUDA)".format(**ROUNDS)
    parser.add_argument("--rounds", type=int, help=rounds)
    parser.add_argument("--threads", type=int, help="processor threads (default: PyTorch's own choice)")
    parser.add_argument(
        "--minutes", type=positive_number, help="stop after so many with what is measured (default: 9 for --suite gpu)"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write what the terminal shows; in a folder, named by device and date"
    )
    parser.add_argument("--page", metavar="FILE", type=Path, help="draw it as a page (HTML)")
    arguments = parser.parse_args(argv)
    if any(number is not None and number < 1 for number in (arguments.rounds, arguments.threads)):
        raise ConfigError("--rounds and --threads must be at least 1")
    if arguments.suite and any(getattr(arguments, name) != parser.get_default(name) for name in MATRIX_OPTIONS):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in MATRIX_OPTIONS)
        raise ConfigError(f"--suite brings its own settings; leave out {options}")
    return arguments
