"""Charts of result pages: bars, lines over time and confusion matrices, in the colours of the page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import cv2
import numpy as np

from sdcpc_core.pages.page import data_uri

MAX_NUMBERED = 24
"""Confusion matrices of more classes are drawn without numbers."""
MATRIX_RGB = (58, 118, 214)
TICKS = 5
MIN_SPAN = 0.4
"""A line that hardly moves is not blown up beyond this."""


@dataclass(frozen=True)
class Bars:
    """Percentages of named things, a bar for each series.

    Attributes:
        series: names of the bars of a row.
        rows: name and value of each series, 0 to 100; NaN for none.
        caption: said below.
    """

    template: ClassVar[str] = "bars.html"
    series: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float]]]
    caption: str = ""


@dataclass(frozen=True)
class Lines:
    """Values over time, a line for each series.

    Attributes:
        title: what is shown, with its unit.
        series: values by name, as many in each; NaN breaks a line.
        ends: what the first and the last point are.
        places: of the points along the axis, ascending; evenly spaced by default.
        from_zero: whether the axis of the values begins at 0.
    """

    template: ClassVar[str] = "lines.html"
    title: str
    series: Mapping[str, Sequence[float]]
    ends: tuple[str, str]
    places: Sequence[float] | None = None
    from_zero: bool = False

    @property
    def ticks(self) -> list[tuple[str, float]]:
        """Label and height of the marks of the axis, from 0 at its top to 100."""
        low, high, step = self._scale()
        values = np.arange(low, high + step / 2, step)
        return [(f"{value:g}", 100 * (high - value) / (high - low)) for value in values.round(6)]

    @property
    def paths(self) -> list[str]:
        """Path of each line in a square of 100."""
        return [" ".join(self._strokes(values)) for values in self.series.values()]

    def _strokes(self, values: Sequence[float]) -> Iterator[str]:
        low, high, _ = self._scale()
        places = range(len(values)) if self.places is None else self.places
        first, width = places[0], max(places[-1] - places[0], 1e-9)
        points = (
            (100 * (place - first) / width, 100 * (high - value) / (high - low))
            for place, value in zip(places, values, strict=True)
        )
        for is_gap, run in groupby(points, key=lambda point: math.isnan(point[1])):
            if not is_gap:
                # A point alone shows as a dot of a line without length.
                (x, y), *others = run
                yield f"M{x:.2f} {y:.2f}H{x:.2f}" + "".join(f"L{x:.2f} {y:.2f}" for x, y in others)

    def _scale(self) -> tuple[float, float, float]:
        """Ends of the axis and the distance of its marks: a few round numbers around all values."""
        values = np.concatenate([np.asarray(values, float) for values in self.series.values()])
        values = values[~np.isnan(values)]
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        low = 0.0 if self.from_zero else low
        rough = max(high - low, MIN_SPAN) / (TICKS - 1)
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.floor(low / step) * step
        return first, max(math.ceil(high / step) * step, first + step), step


@dataclass(frozen=True)
class Matrix:
    """What the pixels of each class were taken for.

    Attributes:
        names: of the classes, (K,).
        counts: a row per true class, a column per predicted one, (K, K).
        caption: said below.
    """

    template: ClassVar[str] = "matrix.html"
    names: Sequence[str]
    counts: np.ndarray
    caption: str = ""

    @property
    def is_numbered(self) -> bool:
        """Whether the shares are told as numbers."""
        return len(self.names) <= MAX_NUMBERED

    @property
    def shares(self) -> np.ndarray:
        """Share of each row's pixels in each column, (K, K); NaN in rows without any."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.where(totals > 0, self.counts / np.maximum(totals, 1), np.nan)

    @property
    def picture(self) -> str:
        """The shares as the opacity of a picture, one pixel each."""
        # The root lifts shares of a few percent out of the ground.
        opacity = np.uint8(np.rint(255 * np.sqrt(np.nan_to_num(self.shares))))
        pixels = np.dstack([np.full((*opacity.shape, 3), MATRIX_RGB[::-1], np.uint8), opacity])
        _, png = cv2.imencode(".png", pixels)
        return data_uri(png.tobytes(), "image/png")
