"""How sure a difference between evaluations of the same frames is."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.metrics.scores import Scores, figures

CONFIDENCE = 0.95
RESAMPLES = 2000

Sums = Mapping[str, np.ndarray]
"""As ``Scores.blocks``, with any leading shape in place of (B,)."""


@dataclass(frozen=True)
class Difference:
    """How far evaluations differ in a figure, such as one minus the other in points; NaN where one has none.

    Attributes:
        value: how far.
        low: lower end of its interval; NaN with fewer than two blocks.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        interval = "" if math.isnan(self.low) else f" ({self.low:+.2f} to {self.high:+.2f})"
        return f"{self.value:+.2f}{interval}"


def differences(
    first: Scores, second: Scores, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Compare two evaluations, figure by figure, with paired bootstrap intervals over blocks of frames.

    Args:
        first: evaluation of some frames.
        second: evaluation of the same frames.
        confidence: share of the drawn differences inside the interval, between 0 and 1.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        ``first`` minus ``second`` of every figure that both have.

    Raises:
        InputError: the evaluations are not of the same ground truth.
    """

    def gains(sums: Sequence[Sums]) -> dict[str, np.ndarray]:
        of_first, of_second = map(figures, sums)
        return {key: of_first[key] - of_second[key] for key in of_first if key in of_second}

    return intervals((first, second), gains, confidence=confidence, resamples=resamples, seed=seed)


def intervals(
    evaluations: Sequence[Scores],
    contrast: Callable[[Sequence[Sums]], Mapping[str, np.ndarray]],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare evaluations by a measure of one's own, with paired bootstrap intervals over blocks of frames.

    Blocks are drawn with replacement, the same for all, and the measure is computed anew from the drawn sums; the
    interval lies between the percentiles of its values. Few blocks give too narrow an interval.

    Args:
        evaluations: of the same frames.
        contrast: what is told of them: takes the sums of each evaluation, with a leading shape (...), and returns
            named numbers, each (...,) float64.
        confidence: share of the drawn values inside the interval, between 0 and 1.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        InputError: the evaluations are not of the same ground truth.
    """
    truths = [scores.blocks["labels"][:, 1] for scores in evaluations]
    if not all(np.array_equal(truths[0], truth) for truth in truths):
        raise InputError("the evaluations are not of the same frames; evaluate all on the same split")
    blocks = len(truths[0])
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    drawn = drawn.astype(np.float64)  # products of floats are many times faster, and these are exact
    values = contrast([scores.sums() for scores in evaluations])
    samples = contrast(
        [{name: np.tensordot(drawn, block, axes=1) for name, block in scores.blocks.items()} for scores in evaluations]
    )
    tail = 100 * (1 - confidence) / 2
    result = {}
    for key, value in values.items():
        sample = samples[key][~np.isnan(samples[key])]
        low, high = np.percentile(sample, [tail, 100 - tail]) if blocks > 1 and sample.size else (np.nan, np.nan)
        result[key] = Difference(float(value), float(low), float(high))
    return result
