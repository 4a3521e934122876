"""Charts over the time of a drive: what came when, and what it was made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

HIGHLIGHTED = 8
"""Of more parts the largest are named; the others share one colour."""
OTHERS_RGB = (208, 208, 204)


@dataclass(frozen=True)
class Events:
    """When each kind of event happened, and how densely.

    Attributes:
        rows: name of each kind, and how much of each stretch of time it fills, 0..1; stretches are equally long.
        ends: what the first and the last moment are.
        caption: said below.
    """

    template: ClassVar[str] = "events.html"
    rows: Sequence[tuple[str, Sequence[float]]]
    ends: tuple[str, str]
    caption: str = ""

    @property
    def paths(self) -> list[tuple[str, str]]:
        """Name of each row and the path of its bars, in a box of 100 by 1."""
        return [(name, "".join(_bars(shares))) for name, shares in self.rows]


@dataclass(frozen=True)
class Parts:
    """What a whole is made of over time: areas on top of one another, the largest at the bottom.

    Attributes:
        names: of the parts, (K,).
        colours: RGB, (K, 3), 0..255.
        shares: of each part in each stretch of time, (T, K), 0..1; what is missing to 1 stays empty.
        ends: what the first and the last moment are.
    """

    template: ClassVar[str] = "parts.html"
    names: Sequence[str]
    colours: Sequence[Sequence[int]]
    shares: np.ndarray
    ends: tuple[str, str]

    @property
    def areas(self) -> list[tuple[str, tuple[int, int, int], str]]:
        """Name, colour and path (in a square of 100) of each area that is seen, from the bottom to the top."""
        means = np.nanmean(self.shares, axis=0) if len(self.shares) else np.zeros(len(self.names))
        order = [k for k in np.argsort(-means, kind="stable") if means[k] > 0]
        named, others = order[:HIGHLIGHTED], order[HIGHLIGHTED:]
        columns = [(self.names[k], tuple(self.colours[k]), self.shares[:, k]) for k in named]
        if others:
            columns.append((f"{len(others)} others", OTHERS_RGB, self.shares[:, others].sum(axis=1)))
        tops = np.cumsum([np.zeros(len(self.shares)), *(np.nan_to_num(share) for _, _, share in columns)], axis=0)
        paths = (_area(lower, upper) for lower, upper in pairwise(tops))
        return [(name, colour, path) for (name, colour, _), path in zip(columns, paths, strict=True)]


def _bars(shares: Sequence[float]) -> Iterator[str]:
    width = 100 / max(len(shares), 1)
    for index, share in enumerate(shares):
        if share > 0:
            yield f"M{index * width:.3f} 1v{-share:.3f}h{width:.3f}V1Z"


def _area(lower: np.ndarray, upper: np.ndarray) -> str:
    # Steps rather than slopes: a share holds for its stretch of time.
    x = np.linspace(0, 100, len(lower) + 1)
    there = [
        f"{a:.2f} {100 - 100 * y:.2f} {b:.2f} {100 - 100 * y:.2f}" for a, b, y in zip(x, x[1:], upper, strict=False)
    ]
    back = [
        f"{b:.2f} {100 - 100 * y:.2f} {a:.2f} {100 - 100 * y:.2f}" for a, b, y in zip(x, x[1:], lower, strict=False)
    ]
    return f"M{' '.join(there)} {' '.join(reversed(back))}Z"
