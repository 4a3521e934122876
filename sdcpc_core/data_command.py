"""The command ``sdcpc data``: what a data set on disk holds, and what is wrong with it."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sdcpc_core.data.check import Findings
    from sdcpc_core.labels import LabelSet

SHOWN = 10
"""So many files of a kind appear on the terminal; the JSON file has them all."""


def data(argv: list[str]) -> None:
    """Check the files of a data set and show its classes.

    Raises:
        InputError: a file is missing, broken or mislabelled; all of them have been told then.
    """
    arguments = _parse(argv)

    from rich.console import Console

    from sdcpc_core.data.check import scan, summarize
    from sdcpc_core.data.kinds import LAYOUTS, find_splits
    from sdcpc_core.progress import progress
    from sdcpc_core.report import check_report, run_facts, write_report

    check_report(arguments.json)
    console = Console(highlight=False)
    found: dict[str, Findings] = {}
    labels = None
    for split in arguments.split or find_splits(arguments.data, arguments.root):
        layout = LAYOUTS[arguments.data](arguments.root, split)
        with progress(scan(layout), layout.title, total=len(layout.records)) as frames:
            found[split] = summarize(layout, frames)
        labels = layout.labels
        _tell(console, layout.title, found[split])
    console.print(_class_table(labels, found))
    if arguments.json:
        splits = {split: _report(findings, labels) for split, findings in found.items()}
        write_report(arguments.json, {**run_facts(vars(arguments)), "labels": labels.to_dict(), "splits": splits})
    count = sum(len(findings.faults) for findings in found.values())
    if count:
        all_of_them = "" if arguments.json else "; --json FILE lists them all"
        raise InputError(f"{arguments.root} has {count} fault{'s'[: count != 1]} to put right{all_of_them}")
    console.print("Nothing is missing or broken.")


def _tell(console: "Console", title: str, findings: "Findings") -> None:
    sizes = ", ".join(f"{width}x{height}" for (height, width), _ in findings.sizes_hw.most_common(3))
    more = len(findings.sizes_hw) - 3
    rate = "no videos" if math.isinf(findings.spacing_s) else f"{findings.spacing_s:.3g} s apart"
    console.print(title, style="bold", markup=False)
    console.print(
        f"  {findings.frames} frames, {findings.labelled} labelled; sequences: {findings.sequences}, {rate}; "
        f"{sizes or 'no size'}{f' and {more} more sizes' if more > 0 else ''}",
        soft_wrap=True,
    )
    for kind, messages in {**by_fault(findings), **findings.remarks}.items():
        style = "yellow" if kind in findings.remarks else "red"
        console.print(f"  {kind}: {len(messages)}", style=style, markup=False)
        for message in messages[:SHOWN]:
            console.print(f"    {message}", soft_wrap=True, markup=False)
        if len(messages) > SHOWN:
            console.print(f"    and {len(messages) - SHOWN} more")


def by_fault(findings: "Findings") -> dict[str, list[str]]:
    """Messages of the faults by what is wrong, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for fault in findings.faults:
        groups.setdefault(fault.fault, []).append(str(fault))
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _class_table(labels: "LabelSet", found: "Mapping[str, Findings]") -> "Table":
    from rich.table import Table

    table = Table("id", "class", title="share of the labelled pixels, %")
    for split in found:
        table.add_column(split, justify="right")
    for index, name in enumerate(labels.names):
        shares = (_share(findings, index) for findings in found.values())
        table.add_row(str(index), name, *(f"{100 * share:.3f}" if share else "-" for share in shares))
    return table


def _share(findings: "Findings", index: int) -> float:
    return float(findings.pixels[index] / max(findings.pixels.sum(), 1))


def _report(findings: "Findings", labels: "LabelSet") -> dict[str, Any]:
    return {
        "frames": findings.frames,
        "labelled": findings.labelled,
        "sequences": findings.sequences,
        "spacing_s": None if math.isinf(findings.spacing_s) else findings.spacing_s,
        "sizes": {f"{height}x{width}": count for (height, width), count in findings.sizes_hw.most_common()},
        "class_frequencies": {name: _share(findings, index) for index, name in enumerate(labels.names)},
        "faults": by_fault(findings),
        "remarks": findings.remarks,
    }


def _parse(argv: list[str]) -> argparse.Namespace:
    from sdcpc_core.data.kinds import LAYOUTS

    parser = argparse.ArgumentParser(prog="sdcpc data", description=data.__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="check")
    check = commands.add_parser(
        "check",
        help="read every file, tell what is missing, broken or mislabelled",
        description="Read every file of a data set; tell what is missing, broken or mislabelled, with exit status 2.",
    )
    check.add_argument("root", metavar="DIR", type=Path, help="folder of the data set")
    check.add_argument("--data", choices=LAYOUTS, required=True, help="layout of the data set")
    check.add_argument("--split", nargs="+", help="default: all that are there and whose labels are published")
    check.add_argument("--json", metavar="FILE", type=Path, help="write what was found, with every file")
    return parser.parse_args(argv)
