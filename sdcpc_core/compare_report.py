"""What a comparison of evaluations found: for the terminal and for files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from sdcpc_core.bootstrap import CONFIDENCE, Difference
from sdcpc_core.compare_evaluations import Evaluation, Group
from sdcpc_core.compare_figures import IOU, Measured, has_one_flow
from sdcpc_core.evaluation_report import gains_report, rounded
from sdcpc_core.metrics.scores import BLOCK_FRAMES


def title(groups: Sequence[Group]) -> str:
    """What all of them were evaluated on."""
    first = groups[0].members[0]
    return f"{first.split}, {first.report['frames']} labelled frames"


def columns(groups: Sequence[Group]) -> list[str]:
    """Heads of the columns of ``rows``."""
    difference = f"difference ({100 * CONFIDENCE:g} %)"
    others = [difference] if len(groups) == 2 else [f"{group.name}: {difference}" for group in groups[1:]]
    return ["percent", *(group.name for group in groups), *others]


def rows(groups: Sequence[Group], measured: Sequence[Measured]) -> dict[str, list[list[str]]]:
    """All figures as they are shown, by the part of the table they belong to."""
    others = measured[1:]
    table: dict[str, list[list[str]]] = {"Figures": [], "Inconsistency gone": [], "Classes": []}
    for key in dict.fromkeys(key for of in measured for key in of.mean):
        means = [_shown(of.mean.get(key, math.nan), of.deviation.get(key, math.nan)) for of in measured]
        part = table["Classes" if key.startswith(IOU) else "Figures"]
        part.append([key, *means, *(_shown_gain(of.gains.get(key)) for of in others)])
    for key in dict.fromkeys(key for of in others for key in of.gone):
        row = [f"{key} gone", *("" for _ in groups), *(_shown_gain(of.gone.get(key)) for of in others)]
        table["Inconsistency gone"].append(row)
    costs = [[_speed_and_cost(member) for member in group.members] for group in groups]
    table["Cost and speed"] = [
        [key, *(_shown_over_members([cost[key] for cost in of_group]) for of_group in costs), *("" for _ in others)]
        for key in costs[0][0]
    ]
    return {part: found for part, found in table.items() if found}


def terminal_tables(groups: Sequence[Group], measured: Sequence[Measured]) -> list[Table]:
    """All figures side by side; of more than two, the differences in a table of their own, which a terminal holds."""
    heads, parts = columns(groups), rows(groups, measured).values()
    first_gain = len(groups) + 1
    if len(groups) == 2:
        return [_table(heads, parts, range(len(heads)))]
    return [_table(heads, parts, shown) for shown in (range(first_gain), (0, *range(first_gain, len(heads))))]


def _table(heads: Sequence[str], parts: Iterable[Sequence[Sequence[str]]], shown: Sequence[int]) -> Table:
    title, *others = [heads[index] for index in shown]
    table = Table(title)
    for head in others:
        table.add_column(head, justify="right")
    for part in parts:
        for row in part:
            cells = [row[index] for index in shown]
            if any(cells[1:]):
                table.add_row(*cells)
        table.add_section()
    return table


def notes(groups: Sequence[Group]) -> str:
    """What has to be known to read the figures."""
    first, blocks = groups[0], len(groups[0].members[0].scores.blocks["labels"])
    lines = [
        f"difference: to {first.name}; paired bootstrap over {blocks} blocks of up to {BLOCK_FRAMES} frames. It covers "
        "which frames were filmed, not which weights another training would give."
    ]
    if any(len(group.members) > 1 for group in groups):
        lines.append("±: mean and standard deviation over the evaluations of a group; their draws are averaged.")
    if "windows" in first.members[0].scores.blocks:
        lines.append(
            f"gone: share of the inconsistency of {first.name} that is gone, in percent: the gain in mVC over what "
            f"{first.name} lacks to 100."
        )
    lines.append(
        "GMACs: 10^9 multiply-accumulates for a frame of a stream and for a clip, attention products not counted."
    )
    if not has_one_flow(groups):
        lines.append("TC is left out: it was measured with different optical flow; evaluate all with one OpenCV.")
    machines = {group.name: ", ".join(dict.fromkeys(map(_machine, group.members))) for group in groups}
    if len(set(machines.values())) > 1:
        told = "; ".join(f"{name}: {machine}" for name, machine in machines.items())
        lines.append(f"The times cannot be compared, they are of different machines or precisions: {told}.")
    return "\n".join(lines)


def comparison_report(groups: Sequence[Group], measured: Sequence[Measured]) -> dict[str, Any]:
    """The comparison, for JSON."""
    first = groups[0].members[0]
    blocks = len(first.scores.blocks["labels"])
    return {
        "data": first.report["config"]["data"],
        "split": first.report["config"]["split"],
        "frames": first.report["frames"],
        "evaluations": [_group_report(*pair, blocks=blocks) for pair in zip(groups, measured, strict=True)],
    }


def _group_report(group: Group, measured: Measured, *, blocks: int) -> dict[str, Any]:
    report = {"name": group.name, **_nested(rounded(measured.mean))}
    if len(group.members) > 1:
        report["standard_deviation"] = _nested(rounded(measured.deviation))
    if measured.gains:
        report["minus_first"] = _nested(gains_report(measured.gains, blocks))
    if measured.gone:
        report["inconsistency_gone"] = gains_report(measured.gone, blocks)
    report["members"] = [
        {
            "folder": member.folder,
            "pass": member.run,
            "checkpoint": member.report["config"]["checkpoint"],
            **{
                key: member.report[key]
                for key in ("commit", "device_name", "working_size_hw", "params", "macs", "stream")
            },
            **{key: member.results[key] for key in ("latency_ms", "fps")},
        }
        for member in group.members
    ]
    return report


def _nested(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with those of the classes under one key, as in the reports of evaluations."""
    plain = {key: value for key, value in figures.items() if not key.startswith(IOU)}
    return {**plain, "IoU": {key.removeprefix(IOU): figures[key] for key in figures if key not in plain}}


def _speed_and_cost(evaluation: Evaluation) -> dict[str, float]:
    report, median_ms = evaluation.report, evaluation.results["latency_ms"]["median"]
    return {
        "M parameters": report["params"] / 1e6,
        "GMACs, stream": report["stream"]["macs"] / 1e9,
        "GMACs, clip": report["macs"] / 1e9,
        "ms per frame, median": median_ms,
        "frames per second": 1e3 / median_ms,
    }


def _machine(evaluation: Evaluation) -> str:
    return f"{evaluation.report['device_name']}, {evaluation.report['config']['precision']}"


def _shown_over_members(values: Sequence[float]) -> str:
    return _shown(fmean(values), stdev(values) if len(set(values)) > 1 else math.nan)


def _shown(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.2f}" + ("" if math.isnan(deviation) else f" ± {deviation:.2f}")


def _shown_gain(gain: Difference | None) -> str:
    return "-" if gain is None else str(gain)
