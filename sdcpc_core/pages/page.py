"""Pages of results: one HTML file of tables, charts and pictures that needs nothing else to be read."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import cv2
import numpy as np

from sdcpc_core.labels import LabelSet

TEMPLATES = Path(__file__).parent / "templates"
JPEG_QUALITY = 82


class Part(Protocol):
    """What a section is made of.

    Attributes:
        template: file in ``templates/`` that draws the part, which it calls ``part``.
    """

    template: ClassVar[str]


@dataclass(frozen=True)
class Section:
    """A chapter of a page.

    Attributes:
        title: its heading.
        parts: what it shows, from top to bottom.
        note: said under the heading; what has to be known to read it.
    """

    title: str
    parts: Sequence[Part]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text, the first column naming them, the others set flush right.

    Attributes:
        columns: heads of all columns.
        rows: cells as they are shown.
        caption: said below.
        shown_rows: the rows beyond so many open on a click.
    """

    template: ClassVar[str] = "table.html"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    shown_rows: int = 40


@dataclass(frozen=True)
class Facts:
    """Names and what they are, such as the settings of a run.

    Attributes:
        facts: text by name.
    """

    template: ClassVar[str] = "facts.html"
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Legend:
    """The classes of label maps beside their colours.

    Attributes:
        labels: the classes.
        ids: those that are named; all by default.
    """

    template: ClassVar[str] = "legend.html"
    labels: LabelSet
    ids: Sequence[int] | None = None

    @property
    def entries(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Name and RGB colour of each class that is named."""
        ids = range(self.labels.num_classes) if self.ids is None else self.ids
        return [(self.labels.names[index], self.labels.palette[index]) for index in ids]


@dataclass(frozen=True)
class PictureRow:
    """One moment, seen several ways.

    Attributes:
        caption: told above it.
        pictures: as many as the row's ``Pictures`` has headings, (H, W, 3) uint8 RGB each.
    """

    caption: str
    pictures: Sequence[np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """Rows of pictures, side by side where the screen is wide enough.

    Attributes:
        headings: one per column.
        rows: one per moment.
        width_px: pictures that are wider are made this wide.
    """

    template: ClassVar[str] = "pictures.html"
    headings: Sequence[str]
    rows: Sequence[PictureRow]
    width_px: int = 480

    @property
    def entries(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Caption of each row, with heading and address of each of its pictures."""
        return [
            (row.caption, list(zip(self.headings, (image_uri(p, self.width_px) for p in row.pictures), strict=True)))
            for row in self.rows
        ]


def image_uri(image: np.ndarray, width_px: int) -> str:
    """An address that holds the picture itself: as PNG or JPEG, whichever is smaller.

    Args:
        image: (H, W, 3) uint8 RGB.
        width_px: a wider picture is made this wide.
    """
    height, width = image.shape[:2]
    if width > width_px:
        image = cv2.resize(image, (width_px, max(1, round(height * width_px / width))), interpolation=cv2.INTER_AREA)
    image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # Colour at full resolution: halved, it bleeds over the borders of classes.
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    _, jpeg = cv2.imencode(".jpg", image, settings)
    _, png = cv2.imencode(".png", image)
    if len(png) < len(jpeg):
        return data_uri(png.tobytes(), "image/png")
    return data_uri(jpeg.tobytes(), "image/jpeg")


def data_uri(data: bytes, media_type: str) -> str:
    """An address that holds the data themselves."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def render_page(
    title: str, sections: Sequence[Section], *, subtitle: str = "", highlights: Mapping[str, str] | None = None
) -> str:
    """Set a page.

    Args:
        title: of the page, shown at its top.
        sections: one after the other.
        subtitle: said under the title.
        highlights: the few figures to be seen first, text by name.

    Returns:
        HTML that refers to nothing outside itself.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html")
    return page.render(title=title, subtitle=subtitle, highlights=highlights or {}, sections=sections)
