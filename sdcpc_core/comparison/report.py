"""What a comparison of evaluations found: for the terminal and for files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from sdcpc_core.comparison.evaluations import Group, StoredPass
from sdcpc_core.comparison.figures import IOU, Measured, has_one_flow
from sdcpc_core.metrics.bootstrap import CONFIDENCE, Difference
from sdcpc_core.metrics.scores import BLOCK_FRAMES
from sdcpc_core.report import rounded, shown

FIGURES, GONE, CLASSES, COST = "Figures, %", "Inconsistency gone, %", "Classes, %", "Cost and speed"


def title(groups: Sequence[Group]) -> str:
    """What all of them were evaluated on."""
    first = groups[0].members[0]
    return f"{first.split}, {first.report['frames']} labelled frames"


def columns(groups: Sequence[Group], contrast: str = "difference") -> list[str]:
    """Heads of the columns of ``rows``: a mean for each group, then what contrasts each but the first with it."""
    difference = f"{contrast} ({100 * CONFIDENCE:g} %)"
    others = [difference] if len(groups) == 2 else [f"{group.name}: {difference}" for group in groups[1:]]
    return ["percent", *(group.name for group in groups), *others]


def rows(groups: Sequence[Group], measured: Sequence[Measured]) -> dict[str, list[list[str]]]:
    """All figures as they are shown, by the part of the table they belong to."""
    others = measured[1:]
    table: dict[str, list[list[str]]] = {FIGURES: [], GONE: [], CLASSES: []}
    for key in dict.fromkeys(key for of in measured for key in of.mean):
        means = [_shown(of.mean.get(key, math.nan), of.deviation.get(key, math.nan)) for of in measured]
        part = table[CLASSES if key.startswith(IOU) else FIGURES]
        part.append([key, *means, *(_shown_gain(of.gains.get(key)) for of in others)])
    for key in dict.fromkeys(key for of in others for key in of.gone):
        row = [f"{key} gone", *("" for _ in groups), *(_shown_gain(of.gone.get(key)) for of in others)]
        table[GONE].append(row)
    costs = [[_speed_and_cost(member) for member in group.members] for group in groups]
    table[COST] = [
        [key, *(_shown_over_members([cost[key] for cost in of_group]) for of_group in costs), *("" for _ in others)]
        for key in costs[0][0]
    ]
    return {part: found for part, found in table.items() if found}


def terminal_tables(groups: Sequence[Group], measured: Sequence[Measured]) -> list[Table]:
    """All figures side by side; of more than two, the differences in a table of their own, which a terminal holds."""
    heads, parts = columns(groups), rows(groups, measured).values()
    if len(groups) == 2:
        return [_table(heads, parts)]
    first_gain = len(groups) + 1
    means = [[row[:first_gain] for row in part] for part in parts]
    gains = [[row[:1] + row[first_gain:] for row in part] for part in parts]
    gain_heads = [f"difference to {groups[0].name} ({100 * CONFIDENCE:g} %)", *(group.name for group in groups[1:])]
    return [_table(heads[:first_gain], means), _table(gain_heads, gains)]


def _table(heads: Sequence[str], parts: Iterable[Sequence[Sequence[str]]]) -> Table:
    table = Table(heads[0])
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for part in parts:
        for row in part:
            if any(row[1:]):
                table.add_row(*row)
        table.add_section()
    return table


def notes(groups: Sequence[Group]) -> str:
    """What has to be known to read the figures."""
    return "\n".join(line for lines in notes_of_parts(groups).values() for line in lines)


def notes_of_parts(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Lines of ``notes``, by the part of the table they belong to."""
    first, blocks = groups[0], len(groups[0].members[0].scores.blocks["labels"])
    difference = (
        f"difference: to {first.name}; paired bootstrap over {blocks} blocks of up to {BLOCK_FRAMES} frames. It covers "
        "which frames were filmed, not which weights another training would give."
    )
    macs = "GMACs: 10^9 multiply-accumulates for a frame of a stream and for a clip, attention products not counted."
    lines = {FIGURES: [difference], GONE: [], COST: [macs]}
    if any(len(group.members) > 1 for group in groups):
        lines[FIGURES].append(
            "±: mean and standard deviation over the evaluations of a group; their draws are averaged."
        )
    if not has_one_flow(groups):
        lines[FIGURES].append(
            "TC is left out: it was measured with different optical flow; evaluate all with one OpenCV."
        )
    if "windows" in first.members[0].scores.blocks:
        lines[GONE].append(
            f"gone: share of the inconsistency of {first.name} that is gone, in percent: the gain in mVC over what "
            f"{first.name} lacks to 100."
        )
    machines = {group.name: ", ".join(dict.fromkeys(map(_machine, group.members))) for group in groups}
    if len(set(machines.values())) > 1:
        told = "; ".join(f"{name}: {machine}" for name, machine in machines.items())
        lines[COST].append(f"The times cannot be compared, they are of different machines or precisions: {told}.")
    return lines


def comparison_report(groups: Sequence[Group], measured: Sequence[Measured]) -> dict[str, Any]:
    """The comparison, for JSON; None where nothing was measured."""
    first = groups[0].members[0]
    return {
        "data": first.report["config"]["data"],
        "split": first.report["config"]["split"],
        "frames": first.report["frames"],
        "blocks": len(first.scores.blocks["labels"]),
        "block_frames": BLOCK_FRAMES,
        "confidence": CONFIDENCE,
        "evaluations": [_group_report(*pair) for pair in zip(groups, measured, strict=True)],
    }


def _group_report(group: Group, measured: Measured) -> dict[str, Any]:
    report = {"name": group.name, **_nested(rounded(measured.mean))}
    if len(group.members) > 1:
        report["standard_deviation"] = _nested(rounded(measured.deviation))
    for key, found in (("minus_first", measured.gains), ("inconsistency_gone", measured.gone)):
        if found:
            report[key] = _nested({figure: rounded(asdict(gain)) for figure, gain in found.items()})
    report["members"] = [_member_report(member) for member in group.members]
    return report


def _member_report(member: StoredPass) -> dict[str, Any]:
    told = ("commit", "device_name", "working_size_hw", "params", "macs", "stream")
    return {
        "folder": member.folder,
        "pass": member.run,
        "checkpoint": member.report["config"]["checkpoint"],
        **{key: member.report[key] for key in told},
        **{key: member.results[key] for key in ("latency_ms", "fps")},
    }


def _nested(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with those of the classes under one key, as in the reports of evaluations."""
    plain = {key: value for key, value in figures.items() if not key.startswith(IOU)}
    of_classes = {key.removeprefix(IOU): figures[key] for key in figures if key not in plain}
    return {**plain, "IoU": of_classes} if of_classes else plain


def _speed_and_cost(evaluation: StoredPass) -> dict[str, float]:
    report, median_ms = evaluation.report, evaluation.results["latency_ms"]["median"]
    return {
        "M parameters": report["params"] / 1e6,
        "GMACs, stream": report["stream"]["macs"] / 1e9,
        "GMACs, clip": report["macs"] / 1e9,
        "ms per frame, median": median_ms,
        "frames per second": 1e3 / median_ms,
    }


def _machine(evaluation: StoredPass) -> str:
    return f"{evaluation.report['device_name']}, {evaluation.report['config']['precision']}"


def _shown_over_members(values: Sequence[float]) -> str:
    return _shown(fmean(values), stdev(values) if len(set(values)) > 1 else math.nan)


def _shown(mean: float, deviation: float) -> str:
    return shown(mean) + ("" if math.isnan(deviation) else f" ± {deviation:.2f}")


def _shown_gain(gain: Difference | None) -> str:
    return "–" if gain is None else str(gain)
