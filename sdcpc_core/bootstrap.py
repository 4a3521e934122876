"""How sure a difference between two evaluations of the same frames is."""

from dataclasses import dataclass

import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.metrics.scores import Scores, figures

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A figure of one evaluation minus that of another, in points; NaN where either has none.

    Attributes:
        value: the difference.
        low: lower end of its interval; NaN with fewer than two blocks.
        high: upper end.
    """

    value: float
    low: float
    high: float


def differences(
    first: Scores, second: Scores, *, confidence: float = CONFIDENCE, resamples: int = 2000, seed: int = 0
) -> dict[str, Difference]:
    """Compare two evaluations, figure by figure, with paired bootstrap intervals over blocks of frames.

    Blocks are drawn with replacement, the same for both, and every figure is computed anew from the drawn sums;
    the interval lies between the percentiles of the differences. Few blocks give too narrow an interval.

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
    truths = [scores.blocks["labels"][:, 1] for scores in (first, second)]
    if not np.array_equal(*truths):
        raise InputError("the two evaluations are not of the same frames; evaluate both on the same split")
    blocks = len(truths[0])
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    drawn = drawn.astype(np.float64)  # products of floats are many times faster, and these are exact
    of_first, of_second = (
        figures({name: np.tensordot(drawn, block, axes=1) for name, block in scores.blocks.items()})
        for scores in (first, second)
    )
    tail = 100 * (1 - confidence) / 2
    values = first.figures(), second.figures()
    result = {}
    for key in values[0].keys() & values[1].keys():
        sample = of_first[key] - of_second[key]
        sample = sample[~np.isnan(sample)]
        low, high = np.percentile(sample, [tail, 100 - tail]) if blocks > 1 and sample.size else (np.nan, np.nan)
        result[key] = Difference(values[0][key] - values[1][key], float(low), float(high))
    return {key: result[key] for key in values[0] if key in result}
