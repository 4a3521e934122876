"""Label maps for people: overlays, legends and contact sheets, in NumPy and OpenCV alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet

PAPER = (255, 255, 255)
INK = (38, 38, 42)
PALE_INK = (120, 120, 128)
TEXT_SCALE = 0.5
MARGIN_PX = 16
GAP_PX = 6
LINE_PX = 26
"""Height of a line of text."""


def overlay(frame: np.ndarray, label_map: np.ndarray, labels: LabelSet, alpha: float = 0.5) -> np.ndarray:
    """Lay the colours of the classes over a frame; unlabelled pixels keep it as it is.

    Args:
        frame: (H, W, 3) uint8 RGB.
        label_map: class ids, (H, W).
        labels: what the ids mean.
        alpha: share of the colour, 0 (frame alone) to 1 (colours alone).

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: frame and label map differ in size.
    """
    if frame.shape[:2] != label_map.shape:
        raise InputError(f"frame of {frame.shape[:2]} and label map of {label_map.shape} pixels differ in size")
    blended = cv2.addWeighted(frame, 1 - alpha, labels.colorize(label_map), alpha, 0)
    unlabelled = (label_map >= labels.num_classes).view(np.uint8)
    return cv2.copyTo(frame, unlabelled, blended) if unlabelled.any() else blended


def legend(labels: LabelSet, width_px: int) -> np.ndarray:
    """Names of the classes beside their colours, in as many columns as fit.

    Returns:
        (h, width_px, 3) uint8 RGB.
    """
    swatch = LINE_PX - 10
    pitch = swatch + 8 + max(_text_width(name) for name in labels.names) + 2 * MARGIN_PX
    rows = -(-labels.num_classes // max(1, width_px // pitch))
    columns = -(-labels.num_classes // rows)
    canvas = _paper(rows * LINE_PX, width_px)
    for i, (name, colour) in enumerate(zip(labels.names, labels.palette, strict=True)):
        x, y = i % columns * (width_px // columns), i // columns * LINE_PX
        canvas[y + 5 : y + 5 + swatch, x : x + swatch] = colour
        _write(canvas, name, x + swatch + 8, y)
    return canvas


@dataclass(frozen=True)
class SheetRow:
    """One moment on a contact sheet.

    Attributes:
        caption: told above the row, such as the time.
        frame: (H, W, 3) uint8 RGB.
        label_map: predicted class ids, (H, W).
        truth: true class ids, (H, W), where there are any.
    """

    caption: str
    frame: np.ndarray
    label_map: np.ndarray
    truth: np.ndarray | None = None


def contact_sheet(
    rows: Sequence[SheetRow], labels: LabelSet, *, title: str = "", cell_width_px: int = 360
) -> np.ndarray:
    """Set moments of a video side by side: input, labels, overlay and, where a row has it, ground truth.

    Args:
        rows: at least one.
        labels: what the class ids mean.
        title: headline.
        cell_width_px: width of each picture; its height follows from the frame.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        InputError: no rows, or a frame and its label map differ in size.
    """
    headings = ["Input", "Labels", "Overlay"] + ["Ground truth"] * any(row.truth is not None for row in rows)
    pictures = [
        [row.frame, labels.colorize(row.label_map), overlay(row.frame, row.label_map, labels)]
        + ([] if row.truth is None else [labels.colorize(row.truth)])
        for row in rows
    ]
    captions = [row.caption for row in rows]
    return picture_sheet(headings, captions, pictures, labels, title=title, cell_width_px=cell_width_px)


def picture_sheet(
    headings: Sequence[str],
    captions: Sequence[str],
    pictures: Sequence[Sequence[np.ndarray]],
    labels: LabelSet,
    *,
    title: str = "",
    cell_width_px: int = 360,
) -> np.ndarray:
    """Set rows of pictures under headings, with the legend of their classes below.

    Args:
        headings: one per column; shortened where the column is too narrow.
        captions: one per row, told below it.
        pictures: for each row at most as many as there are headings, (H, W, 3) uint8 RGB.
        labels: what the legend names.
        title: headline.
        cell_width_px: width of each picture; the height of a row follows from its first one.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        InputError: there is no row.
    """
    if not pictures:
        raise InputError("a sheet of pictures needs at least one frame")
    width = len(headings) * (cell_width_px + GAP_PX) - GAP_PX
    strips = [_line(title, width, font=cv2.FONT_HERSHEY_DUPLEX, scale=1.4), _paper(GAP_PX, width)] if title else []
    strips.append(_heading_line(headings, width, cell_width_px))
    for caption, row in zip(captions, pictures, strict=True):
        strips += [_picture_line(row, width, cell_width_px), _line(caption, width, colour=PALE_INK)]
    strips += [_paper(GAP_PX, width), legend(labels, width)]
    sheet = np.concatenate(strips)
    return cv2.copyMakeBorder(sheet, *[MARGIN_PX] * 4, cv2.BORDER_CONSTANT, value=PAPER)


def _paper(height_px: int, width_px: int) -> np.ndarray:
    return np.full((height_px, width_px, 3), PAPER, np.uint8)


def _line(text: str, width_px: int, *, font=cv2.FONT_HERSHEY_SIMPLEX, scale: float = 1.0, colour=INK) -> np.ndarray:
    canvas = _paper(round(LINE_PX * scale), width_px)
    _write(canvas, text, 0, 0, font=font, scale=scale, colour=colour)
    return canvas


def _heading_line(headings: Sequence[str], width_px: int, cell_width_px: int) -> np.ndarray:
    canvas = _paper(LINE_PX, width_px)
    for i, heading in enumerate(headings):
        shown = _shortened(heading, cell_width_px, cv2.FONT_HERSHEY_DUPLEX)
        _write(canvas, shown, i * (cell_width_px + GAP_PX), 0, font=cv2.FONT_HERSHEY_DUPLEX)
    return canvas


def _picture_line(pictures: Sequence[np.ndarray], width_px: int, cell_width_px: int) -> np.ndarray:
    height, width = pictures[0].shape[:2]
    cell_height_px = max(1, round(height * cell_width_px / width))
    canvas = _paper(cell_height_px, width_px)
    for i, picture in enumerate(pictures):
        x = i * (cell_width_px + GAP_PX)
        # INTER_AREA blurs nothing when it enlarges: it then repeats pixels, which suits labels.
        cell = cv2.resize(picture, (cell_width_px, cell_height_px), interpolation=cv2.INTER_AREA)
        canvas[:, x : x + cell_width_px] = cell
    return canvas


def _write(
    canvas: np.ndarray, text: str, x: int, y: int, *, font=cv2.FONT_HERSHEY_SIMPLEX, scale=1.0, colour=INK
) -> None:
    """Write a line whose upper left corner is (x, y)."""
    baseline = y + round(0.7 * LINE_PX * scale)
    cv2.putText(canvas, text, (x, baseline), font, TEXT_SCALE * scale, colour, 1, cv2.LINE_AA)


def _shortened(text: str, width_px: int, font: int) -> str:
    """Leave out of the middle of a text what does not fit: names of runs differ at their ends."""
    if _text_width(text, font) <= width_px:
        return text
    kept = next((n for n in range(len(text), 0, -1) if _text_width(_without_middle(text, n), font) <= width_px), 0)
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: -(-kept // 2)]}...{text[len(text) - kept // 2 :]}"


def _text_width(text: str, font: int = cv2.FONT_HERSHEY_SIMPLEX) -> int:
    return cv2.getTextSize(text, font, TEXT_SCALE, 1)[0][0]
