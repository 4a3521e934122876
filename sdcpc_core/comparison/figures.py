"""Figures of evaluations side by side, and how much each differs from the first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdcpc_core.comparison.evaluations import Group
from sdcpc_core.metrics.bootstrap import Difference, Sums, intervals
from sdcpc_core.metrics.confusion import iou_per_class
from sdcpc_core.metrics.scores import Scores, figures

CONSISTENCY = ("mVC8", "mVC16", "mVC8_strict", "mVC16_strict")
"""Figures of which is told what share of the way to 100 % a model went further than the first."""
IOU = "IoU "
"""Put before the name of a class."""


@dataclass(frozen=True)
class Measured:
    """What a group measured.

    Attributes:
        mean: of each figure over the members of the group, in percent; NaN where nothing was measured. The IoU of a
            class is called ``IoU <class>``.
        deviation: standard deviation over the members; NaN for one.
        gains: the group minus the first, in points; empty for the first.
        gone: share of the first's inconsistency that is gone, in percent; empty for the first.
    """

    mean: Mapping[str, float]
    deviation: Mapping[str, float]
    gains: Mapping[str, Difference]
    gone: Mapping[str, Difference]


def measure(groups: Sequence[Group]) -> list[Measured]:
    """Compute the figures of every group and its differences to the first.

    The intervals are of a bootstrap over blocks of frames, drawn alike for all evaluations; of several members the
    figures of each draw are averaged. They tell how the answer depends on the frames that were filmed. How it depends
    on the seed of a training is told by the deviation over the members alone.
    """
    class_names = groups[0].members[0].class_names
    left_out = set() if has_one_flow(groups) else {"warped"}
    scores = [[_without(member.scores, left_out) for member in group.members] for group in groups]
    result = []
    for members in scores:
        of_members = _of_all([scored.sums() for scored in members], class_names)
        is_first = members is scores[0]
        result.append(
            Measured(
                {key: float(values.mean()) for key, values in of_members.items()},
                {key: float(values.std(ddof=1)) if len(values) > 1 else math.nan for key, values in of_members.items()},
                {} if is_first else gains(scores[0], members, class_names),
                {} if is_first else inconsistency_gone(scores[0], members),
            )
        )
    return result


def gains(first: Sequence[Scores], other: Sequence[Scores], class_names: Sequence[str]) -> dict[str, Difference]:
    """Mean of the figures of ``other`` minus that of ``first``, with intervals; of figures that all have."""

    def contrast(sums: Sequence[Sums]) -> dict[str, np.ndarray]:
        of_first, of_other = (_of_all(group, class_names) for group in (sums[: len(first)], sums[len(first) :]))
        shared = [key for key in of_first if key in of_other]
        return {key: of_other[key].mean(axis=0) - of_first[key].mean(axis=0) for key in shared}

    return intervals([*first, *other], contrast)


def inconsistency_gone(first: Sequence[Scores], other: Sequence[Scores]) -> dict[str, Difference]:
    """What ``first`` lacks to 100 % consistency and ``other`` does not, as a share of it in percent, with intervals.

    (mVC of other - mVC of first) / (100 - mVC of first): from 84 to 88 a quarter of the inconsistency is gone, however
    high the figures are. Negative where ``other`` is less consistent; NaN where ``first`` lacks nothing.
    """

    def contrast(sums: Sequence[Sums]) -> dict[str, np.ndarray]:
        of_first, of_other = (_of_all(group, ()) for group in (sums[: len(first)], sums[len(first) :]))
        result = {}
        for key in CONSISTENCY:
            if key in of_first and key in of_other:
                missing = 100 - of_first[key].mean(axis=0)
                remaining = 100 - of_other[key].mean(axis=0)
                result[key] = 100 * (1 - remaining / np.where(missing > 0, missing, np.nan))
        return result

    return intervals([*first, *other], contrast)


def has_one_flow(groups: Sequence[Group]) -> bool:
    """Whether all that measured TC took the same optical flow; otherwise TC cannot be compared."""
    reports = [member.report for group in groups for member in group.members if "warped" in member.scores.blocks]
    return len({report.get("TC_flow") for report in reports}) <= 1


def _without(scores: Scores, left_out: set[str]) -> Scores:
    return Scores({name: block for name, block in scores.blocks.items() if name not in left_out})


def _of_all(sums: Sequence[Sums], class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Figures that every evaluation has: sums of n evaluations with a leading shape (...) to (n, ...)."""
    found = [_figures(of_one, class_names) for of_one in sums]
    return {key: np.stack([of_one[key] for of_one in found]) for key in found[0] if all(key in one for one in found)}


def _figures(sums: Sums, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    iou = iou_per_class(sums["labels"])
    return figures(sums) | {f"{IOU}{name}": iou[..., index] for index, name in enumerate(class_names)}
