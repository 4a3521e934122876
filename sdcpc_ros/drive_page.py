"""The page of a drive: what it looked like, how long answers took, where labels flicker, what was dropped."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from sdcpc_core.labels import LabelSet
from sdcpc_core.pages.charts import Lines
from sdcpc_core.pages.page import Facts, Legend, PictureRow, Pictures, Section, Table, render_page
from sdcpc_core.pages.timelines import Events, Parts
from sdcpc_core.visualization import SheetRow, overlay
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.drive_scores import HELD, DriveScores

STRETCHES = 240
"""Courses are drawn in at most so many stretches of time."""
HIGHLIGHTS = {"mIoU": "mIoU, %", "mVC8": "mVC8, %", "mVC16": "mVC16, %", "changed_pixels": "changing pixels, %"}
FIGURES = {
    "mIoU": "mIoU, %",
    "pixel_accuracy": "pixel accuracy, %",
    "mVC8": "mVC8, %",
    "mVC8_strict": "mVC8 strict, %",
    "mVC16": "mVC16, %",
    "mVC16_strict": "mVC16 strict, %",
    "changed_pixels": "pixels that change label, %",
}
LATENCIES = {
    "p25": "latency, 25th percentile, ms",
    "median": "latency, median, ms",
    "p75": "latency, 75th percentile, ms",
    "p99": "latency, 99th percentile, ms",
    "max": "latency, largest, ms",
}
SHOWN = "A frame without an answer of its own is shown with the newest answer to an earlier frame."
CONSISTENCY = (
    "mVC8 is the share of the pixels which keep their label over 8 frames, of those whose truth stays the same; strict "
    "where they keep the right one."
)
LATENCY = (
    "Live, from sending a frame to receiving its label; simulated, from its arrival to its answer; where every frame "
    "is answered, the time in the network."
)
FLICKER = (
    "Dark where the label of a pixel stays the same, bright where it often changes from one frame to the next: at the "
    "borders of what moves that is right, inside of things it is flicker."
)


def drive_page(
    title: str,
    figures: Mapping[str, Any],
    facts: Mapping[str, str],
    run: CameraRun,
    scores: DriveScores,
    strip: Sequence[SheetRow],
    labels: LabelSet,
) -> str:
    """Set the page of a drive.

    Args:
        title: of the page.
        figures: as in its report.
        facts: what is needed to measure it again.
        run: frames and answers.
        scores: courses and flicker.
        strip: a few moments, at least one.
        labels: what the class ids mean.

    Returns:
        HTML that refers to nothing outside itself.
    """
    course = scores.course
    class_shares = np.array(course.class_shares).reshape(len(course.bag_ns), -1)
    seconds = (np.array(course.bag_ns) - course.bag_ns[0]) / 1e9
    ends = ("0 s", f"{seconds[-1]:.1f} s")
    stretch_of = _stretches(seconds)
    latency = figures["latency_ms"]
    highlights = {"frames answered": f"{figures['frames_answered']} of {figures['frames_sent']}"}
    if latency["median"] is not None:
        highlights["latency, median"] = f"{latency['median']:.0f} ms"
    highlights |= {name: f"{figures[key]:.1f}" for key, name in HIGHLIGHTS.items() if figures.get(key) is not None}
    sections = [
        Section(
            "The drive",
            [Legend(labels, np.flatnonzero(class_shares.sum(axis=0)).tolist()), _strip(strip, labels)],
            "Black is unlabelled.",
        ),
        Section("Figures", [_figures(figures)], SHOWN if figures["mIoU"] is None else f"{HELD} {CONSISTENCY}"),
        Section("Latency over time", _latency(run, course.bag_ns, ends), LATENCY),
        Section("Answered and dropped", [_events(run, course.bag_ns, ends)]),
        Section(
            "Classes over time",
            [Parts(labels.names, labels.palette, _means(class_shares, stretch_of), ends)],
            "Share of each class in the labels shown.",
        ),
        Section("Where labels flicker", _flicker(scores, strip[0].frame, stretch_of, ends), FLICKER),
        Section("To measure it again", [Facts(facts)]),
    ]
    return render_page(
        title, [section for section in sections if section.parts], subtitle=facts["mode"], highlights=highlights
    )


def flicker_map(frame: np.ndarray, changes: np.ndarray, pairs: int) -> np.ndarray:
    """Show how often the label of each pixel changes: the frame, dark and grey, under a glow.

    Args:
        frame: (H, W, 3) uint8 RGB, of the size of ``changes`` or made so.
        changes: how often the label of each pixel changed, (H, W).
        pairs: between how many frames.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = changes.shape
    grey = cv2.cvtColor(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) // 3
    share = (changes / max(pairs, 1)).astype(np.float32)
    # The root lifts what changes now and then out of the dark; the blur joins borders a pixel wide.
    glow = cv2.GaussianBlur(np.sqrt(share / max(float(share.max()), 1e-6)), (0, 0), max(height / 300, 0.5))
    colours = cv2.cvtColor(cv2.applyColorMap(np.uint8(255 * glow.clip(0, 1)), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return cv2.add(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), colours)


def _strip(strip: Sequence[SheetRow], labels: LabelSet) -> Pictures:
    has_truth = any(row.truth is not None for row in strip)
    headings = ("Input", "Overlay", "Labels", *(["Ground truth"] if has_truth else []))
    rows = []
    for row in strip:
        pictures = [row.frame, overlay(row.frame, row.label_map, labels), labels.colorize(row.label_map)]
        if has_truth:
            unknown = np.full_like(row.label_map, labels.ignore_index)
            pictures.append(labels.colorize(unknown if row.truth is None else row.truth))
        rows.append(PictureRow(row.caption, pictures))
    return Pictures(headings, rows)


def _figures(figures: Mapping[str, Any]) -> Table:
    rows = [(name, f"{figures[key]:.2f}") for key, name in FIGURES.items() if figures.get(key) is not None]
    rows += [
        (f"windows of {window} without a gap", str(figures[f"mVC{window}_windows"]))
        for window in (8, 16)
        if f"mVC{window}_windows" in figures
    ]
    rows += [
        ("frames sent", f"{figures['frames_sent']} at {figures['rate_hz']:g} Hz"),
        ("answered", str(figures["frames_answered"])),
        ("dropped", str(figures["frames_dropped"])),
    ]
    rows += [(f"frames that are no picture: {cause}", str(count)) for cause, count in figures["bad_frames"].items()]
    latency = figures["latency_ms"]
    rows += [(name, f"{latency[key]:.0f}") for key, name in LATENCIES.items() if latency[key] is not None]
    if figures["jitter_ms"] is not None:
        rows.append(("jitter: mean change of latency from answer to answer, ms", f"{figures['jitter_ms']:.1f}"))
    if "player_lag_ms" in figures:
        rows.append(("frames were sent late by (median), ms", f"{figures['player_lag_ms']['median']:.1f}"))
    return Table(("figure", "value"), rows)


def _latency(run: CameraRun, bag_ns: Sequence[int], ends: tuple[str, str]) -> list[Lines]:
    latency_of = dict(run.answers)
    latency_ms = np.array([latency_of.get(frame, np.nan) for frame in bag_ns])
    answered = np.count_nonzero(~np.isnan(latency_ms))
    if not answered:
        return []
    # Wide enough that most stretches have an answer, and the line few gaps.
    stretch_of = _stretches((np.array(bag_ns) - bag_ns[0]) / 1e9, most=max(1, answered // 2))
    stretches = [latency_ms[(stretch_of == index) & ~np.isnan(latency_ms)] for index in range(stretch_of[-1] + 1)]
    series = {
        name: [float(reduce(values)) if values.size else np.nan for values in stretches]
        for name, reduce in (("median", np.median), ("largest", np.max))
    }
    return [Lines("from a frame to its answer, ms", series, ends)]


def _events(run: CameraRun, bag_ns: Sequence[int], ends: tuple[str, str]) -> Events:
    # Every frame that was sent, whether or not its picture could be read again.
    seconds = (np.array(run.sent_ns) - bag_ns[0]) / 1e9
    stretch_of = _stretches(seconds)
    have_answers = {frame for frame, _ in run.answers}
    answered = np.array([frame in have_answers for frame in run.sent_ns], float)
    rows = [
        ("answered", _means(answered, stretch_of).tolist()),
        ("dropped", _means(1 - answered, stretch_of).tolist()),
    ]
    return Events(rows, ends, "The height of a bar is the share of the frames of its stretch of time.")


def _flicker(
    scores: DriveScores, frame: np.ndarray, stretch_of: np.ndarray, ends: tuple[str, str]
) -> list[Pictures | Lines]:
    if scores.flicker is None:
        return []
    changes, pairs = scores.flicker
    caption = f"{pairs} pairs of neighbouring frames; the brightest pixel changed in {changes.max()} of them"
    picture = flicker_map(frame, changes, pairs)
    changed = 100 * _means(np.array(scores.course.changed), stretch_of)
    return [
        Pictures(("How often the label of a pixel changes",), [PictureRow(caption, [picture])], width_px=960),
        Lines("pixels that change their label from one frame to the next", {"%": changed.tolist()}, ends),
    ]


def _stretches(seconds: np.ndarray, most: int = STRETCHES) -> np.ndarray:
    """Which of equally long stretches of time each frame lies in, (T,); there are no more of them than frames."""
    count = min(STRETCHES, most, len(seconds))
    length = max(seconds[-1], 1e-9) / count
    return np.minimum((np.maximum(seconds, 0) / length).astype(int), count - 1)


def _means(values: np.ndarray, stretch_of: np.ndarray) -> np.ndarray:
    """Mean over each stretch of time, without NaN; NaN where nothing is: (T, …) to (stretches, …)."""
    means = np.full((stretch_of[-1] + 1, *values.shape[1:]), np.nan)
    known = ~np.isnan(values if values.ndim == 1 else values[:, 0])
    for index in range(len(means)):
        inside = values[(stretch_of == index) & known]
        if len(inside):
            means[index] = inside.mean(axis=0)
    return means
