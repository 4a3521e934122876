"""The page of an evaluation: its figures, where it errs, and how steady it is over time."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sdcpc_core.data.dataset import FrameRecord
from sdcpc_core.data.files import read_mask
from sdcpc_core.evaluation.passes import FrameScore
from sdcpc_core.evaluation.report import (
    Evaluation,
    figure_columns,
    figure_rows,
    headline,
    notes,
    speed_rows,
)
from sdcpc_core.pages.charts import Bars, Lines, Matrix
from sdcpc_core.pages.page import Facts, Legend, PictureRow, Pictures, Section, Table, render_page
from sdcpc_core.report import shown

HIGHLIGHTS = {"mIoU": "mIoU", "pixel_accuracy": "pixel accuracy", "mVC8": "mVC8", "mVC16": "mVC16", "TC": "TC"}
OVER_TIME = {
    "pixel_accuracy": "pixel accuracy, %",
    "mVC8": "consistency of the last 8 frames (VC8), %",
    "TC": "agreement with the frame before, moved by the flow (TC), %",
}
CHARTED_SEQUENCES = 3
CHARTED_FRAMES = 8
"""Shorter sequences have no course to be drawn."""
WORST, BEST = 4, 2
APART_S = 0.5
"""Frames of a sequence that are shown lie further apart (s)."""
CONFUSIONS = 12
CONFUSIONS_OF_CLASS = 3
WRONG_RGB = (226, 48, 62)


def evaluation_page(evaluation: Evaluation, label_folder: Path, facts: Mapping[str, Any]) -> str:
    """Set the page of an evaluation.

    Args:
        evaluation: what was found.
        label_folder: label maps of the main pass, by the names of the frames.
        facts: what is needed to measure it again, as in its report.

    Returns:
        HTML that refers to nothing outside itself.
    """
    figures = evaluation.main.scores.figures()
    highlights = {
        name: shown(figures[key]) for key, name in HIGHLIGHTS.items() if not math.isnan(figures.get(key, math.nan))
    }
    sections = [
        Section("Figures", _figures(evaluation)),
        Section("Classes", [_classes(evaluation)], "Intersection over union, the best classes first."),
        Section(
            "Confusion", _confusion(evaluation), "Of the pixels of a class, how many percent were taken for which."
        ),
        _over_time(evaluation),
        _pictures(evaluation, label_folder),
        Section("To measure it again", [Facts(_facts(facts))]),
    ]
    return render_page(
        f"{facts['model']} on {evaluation.data.title}",
        [section for section in sections if section.parts],
        subtitle=f"{headline(evaluation)} · {facts['date']} · {facts['device_name']}",
        highlights={**highlights, "frames per second": shown(facts["fps"])},
    )


def _figures(evaluation: Evaluation) -> list[Table]:
    return [
        Table(figure_columns(evaluation), figure_rows(evaluation), notes(evaluation)),
        Table(("speed", *evaluation.passes), speed_rows(evaluation)),
    ]


def _classes(evaluation: Evaluation) -> Bars:
    iou = np.stack([of_pass.scores.iou_per_class() for of_pass in evaluation.passes.values()])
    order = np.argsort(-np.nan_to_num(iou[0], nan=-1), kind="stable")
    absent = int(np.isnan(iou[0]).sum())
    present = order[: len(order) - absent]
    caption = f"{absent} of {len(order)} classes are absent from the ground truth." if absent else ""
    return Bars(tuple(evaluation.passes), [(evaluation.labels.names[k], iou[:, k].tolist()) for k in present], caption)


def _confusion(evaluation: Evaluation) -> list[Matrix | Table]:
    counts = evaluation.main.confusion[:, :-1]
    names = evaluation.labels.names
    matrix = Matrix(names, counts, "A row for each true class, a column for each predicted one, in the order of ids.")
    parts = [matrix, *_largest_confusions(matrix)]
    return parts if matrix.is_numbered else [*parts, _taken_for(matrix)]


def _largest_confusions(matrix: Matrix) -> list[Table]:
    counts, names = matrix.counts, matrix.names
    errors = counts * (1 - np.eye(len(counts), dtype=np.int64))
    largest = np.argsort(-errors, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(flat), len(counts)) for flat in largest if errors.flat[flat]]
    rows = [
        (
            f"{names[truth]} → {names[predicted]}",
            shown(100 * matrix.shares[truth, predicted]),
            shown(100 * errors[truth, predicted] / errors.sum()),
        )
        for truth, predicted in pairs
    ]
    columns = ("largest confusions", "% of the class", "% of all errors")
    return [Table(columns, rows)] if rows else []


def _taken_for(matrix: Matrix) -> Table:
    """What each class was taken for, of so many classes that the matrix can tell no numbers."""
    rows = []
    for index, shares in enumerate(matrix.shares):
        if not np.isnan(shares).any():
            others = [k for k in np.argsort(-shares, kind="stable") if k != index and shares[k] > 0][
                :CONFUSIONS_OF_CLASS
            ]
            told = [f"{matrix.names[k]} {shown(100 * shares[k])}" for k in others]
            rows.append((shares[index], (matrix.names[index], shown(100 * shares[index]), ", ".join(told))))
    columns = ("class", "% right", "taken for, %")
    return Table(columns, [cells for _, cells in sorted(rows)], shown_rows=20)


def _over_time(evaluation: Evaluation) -> Section:
    counts = Counter(frame.sequence for frame in evaluation.main.frames)
    figures = {name: evaluation.main.sequence_scores[name].figures() for name in counts}
    worst_first = sorted(counts, key=lambda name: figures[name]["pixel_accuracy"])
    charted = [name for name in worst_first if counts[name] >= CHARTED_FRAMES][:CHARTED_SEQUENCES]
    parts: list[Lines | Table] = [chart for name in charted for chart in _charts(evaluation, name)]
    if len(counts) > 1:
        keys = [key for key in ("mIoU", *OVER_TIME, "mVC16") if key in figures[worst_first[0]]]
        rows = [(name, str(counts[name]), *(shown(figures[name][key]) for key in keys)) for name in worst_first]
        parts.append(Table(("sequence", "labelled frames", *keys), rows, shown_rows=20))
    note = "The sequences with the lowest pixel accuracy come first." if len(counts) > 1 else ""
    return Section("Over time" if charted else "Sequences", parts, note)


def _charts(evaluation: Evaluation, sequence: str) -> Iterable[Lines]:
    courses = {
        name: [frame for frame in of_pass.frames if frame.sequence == sequence]
        for name, of_pass in evaluation.passes.items()
    }
    frames = next(iter(courses.values()))
    ends = tuple(evaluation.data.records[frame.index].name for frame in (frames[0], frames[-1]))
    for key, title in OVER_TIME.items():
        series = {name: [frame.figures.get(key, math.nan) for frame in course] for name, course in courses.items()}
        if not all(np.isnan(values).all() for values in series.values()):
            yield Lines(f"{sequence}: {title}", series, ends)


def _pictures(evaluation: Evaluation, label_folder: Path) -> Section:
    worst_first = sorted(evaluation.main.frames, key=lambda frame: frame.figures["pixel_accuracy"])
    records = evaluation.data.records
    worst = _spread(worst_first, WORST, records)
    best = _spread((frame for frame in reversed(worst_first) if frame not in worst), BEST, records)
    headings = ("Input", "Prediction", "Ground truth", "Errors")
    seen = np.zeros(evaluation.labels.num_classes + 1, bool)
    rows = []
    for kind, frames in (("worst", worst), ("best", best)):
        for score in frames:
            frame = evaluation.data[score.index]
            name = records[score.index].name
            label_map = read_mask(label_folder / f"{name}.png")
            for ids in (label_map, frame.label_map):
                seen[np.minimum(np.unique(ids), len(seen) - 1)] = True
            pictures = (
                frame.image,
                evaluation.labels.colorize(label_map),
                evaluation.labels.colorize(frame.label_map),
                error_map(frame.image, label_map, frame.label_map, evaluation.labels.ignore_index),
            )
            accuracy = shown(score.figures["pixel_accuracy"])
            rows.append(PictureRow(f"{name}, among the {kind}: pixel accuracy {accuracy} %", pictures))
    legend = Legend(evaluation.labels, np.flatnonzero(seen[:-1]).tolist())
    note = "By pixel accuracy. In the last column, wrong pixels are red and unlabelled ones black."
    return Section("Worst and best frames", [legend, Pictures(headings, rows)], note)


def _spread(frames: Iterable[FrameScore], count: int, records: Sequence[FrameRecord]) -> list[FrameScore]:
    """The first frames that are no close neighbours of one another."""
    chosen: list[FrameScore] = []
    for frame in frames:
        stamp_ns = records[frame.index].stamp_ns
        stamps_ns = [records[other.index].stamp_ns for other in chosen if other.sequence == frame.sequence]
        if all(abs(stamp_ns - other_ns) > APART_S * 1e9 for other_ns in stamps_ns):
            chosen.append(frame)
        if len(chosen) == count:
            break
    return chosen


def error_map(image: np.ndarray, label_map: np.ndarray, truth: np.ndarray, ignore_index: int) -> np.ndarray:
    """Show where labels are wrong.

    Args:
        image: (H, W, 3) uint8 RGB.
        label_map: predicted class ids, (H, W).
        truth: class ids, (H, W).
        ignore_index: id of unlabelled pixels.

    Returns:
        (H, W, 3) uint8 RGB: the image, pale and grey, wrong pixels red and unlabelled ones black.
    """
    grey = 96 + cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 2
    shown_map = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    shown_map[label_map != truth] = WRONG_RGB
    shown_map[truth == ignore_index] = 0
    return shown_map


def _facts(facts: Mapping[str, Any]) -> dict[str, str]:
    size = "x".join(map(str, facts["working_size_hw"]))
    return {
        "command": facts["command"],
        "checkpoint": str(facts["config"]["checkpoint"] or "the one that comes with the package"),
        "data": f"{facts['data_set']}, {facts['frames']} frames",
        "references": ", ".join(map(str, facts["reference_offsets"])) or "the frame itself",
        "working size": f"{size}, {facts['config']['precision']}",
        "device": f"{facts['device']}: {facts['device_name']}",
        "commit": facts["commit"] or "not a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
        "date": facts["date"],
    }
