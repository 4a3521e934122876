"""What is shown of a recorded run: a page, an overlay video, a contact sheet and figures."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table

from sdcpc_core.errors import OutputError
from sdcpc_core.labels import LabelSet
from sdcpc_core.output import atomic_output, make_folder, output_errors
from sdcpc_core.progress import progress
from sdcpc_core.report import check_report, write_report
from sdcpc_core.video import VideoWriter
from sdcpc_core.visualization import SheetRow, contact_sheet, overlay
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.drive_page import drive_page
from sdcpc_ros.drive_scores import HELD, DriveScores
from sdcpc_ros.recording import Moment, moments
from sdcpc_ros.truth import Truth

STRIP_ROWS = 6
SHEET_ROWS = 4
REPORT, PAGE, VIDEO, SHEET = "report.json", "report.html", "overlay.mp4", "contact_sheet.png"
FILES = {
    PAGE: "the drive, its figures and where they come from, for any browser",
    VIDEO: "the drive with its labels",
    SHEET: "a few moments side by side",
    REPORT: "the figures, and how they came to be",
}
LIVE_FILES = {
    "segmentation.mcap": "images, labels and overlays: ros2 bag play -s mcap FILE; ROS 2 Humble needs the package\n"
    "ros-humble-rosbag2-storage-mcap",
    "node.log": "what the node said",
}


def check_results(out: Path | None, *, overwrite: bool) -> None:
    """Refuse a folder for results before hours are spent on them.

    Args:
        out: the folder; None for none.
        overwrite: whether older results may be replaced.

    Raises:
        OutputError: it cannot be a folder, or holds results and ``overwrite`` is off.
        ImportError: what makes pages and videos is not installed.
    """
    if out is None:
        return
    import av  # noqa: F401
    import jinja2  # noqa: F401

    for name in FILES:
        if not overwrite and (out / name).exists():
            raise OutputError(f"{out / name} exists; choose another folder or pass --overwrite")
        check_report(out / name)


def judge(
    recording: Path,
    topic: str,
    label_topic: str,
    truth: Truth,
    labels: LabelSet,
    run: CameraRun,
    facts: Mapping[str, Any],
    out: Path | None,
) -> dict[str, Any]:
    """Measure the labels of a recording and show them, with progress.

    Without truth and without a folder there is nothing to be measured but the run.

    Args:
        recording: bag with frames, answers and perhaps the truth.
        topic: the frames.
        label_topic: the answers.
        truth: true labels.
        labels: what the class ids mean.
        run: frames and answers.
        facts: what is needed to measure it again, for the report; ``mode`` and ``topic`` among them.
        out: folder for ``FILES``; None for none.

    Returns:
        The figures of the report; ``mIoU`` is None without truth.

    Raises:
        InputError: the recording or the truth cannot be read.
        OutputError: a file cannot be written.
    """
    figures = run.report()
    if truth is None and out is None:
        return figures
    scores = DriveScores(labels)
    seen = moments(recording, labels, topic, label_topic, truth)
    if out is None:
        with progress(seen, "measuring the labels", run.sent) as shown:
            for moment in shown:
                scores.update(moment)
    else:
        strip = _make_video(make_folder(out) / VIDEO, seen, run, labels, scores)
    figures |= {**scores.figures(), "held": HELD}
    if figures["mIoU"] is None and (asked := facts["config"].get("labels")):
        print(
            f"warning: --labels {asked}: not one frame has labels there, by its stamp and of its size", file=sys.stderr
        )
    if out is None:
        return figures
    _, png = cv2.imencode(".png", cv2.cvtColor(contact_sheet(_spread(strip), labels), cv2.COLOR_RGB2BGR))
    page = drive_page(f"{topic} of {facts['bag']}", figures, _told(facts), run, scores, strip, labels)
    for name, data in ((SHEET, png.tobytes()), (PAGE, page.encode())):
        with output_errors(out / name), atomic_output(out / name, overwrite=True) as draft:
            draft.write_bytes(data)
    write_report(out / REPORT, {**facts, **figures})
    return figures


def _make_video(
    path: Path, seen: Iterable[Moment], run: CameraRun, labels: LabelSet, scores: DriveScores
) -> list[SheetRow]:
    """Write the video and score the moments; returns some of them, spread over the drive.

    The video has the size of the first frame, and repeats its last picture where frames could not be read.
    """
    wanted = [run.sent * (2 * i + 1) // (2 * STRIP_ROWS) for i in range(STRIP_ROWS)]
    rows: list[SheetRow] = []
    written = 0
    last = None
    with (
        VideoWriter(path, run.rate_hz, overwrite=True) as video,
        progress(seen, "making the pictures", run.sent) as shown,
    ):
        for moment in shown:
            scores.update(moment)
            seconds = (moment.bag_ns - scores.course.bag_ns[0]) / 1e9
            picture = overlay(moment.frame, moment.label_map, labels)
            if last is None:
                last = picture
            elif picture.shape != last.shape:
                picture = cv2.resize(picture, last.shape[1::-1], interpolation=cv2.INTER_AREA)
            for _ in range(written, round(seconds * run.rate_hz)):
                video.write(last)
                written += 1
            video.write(picture)
            last = picture
            caption = f"{seconds:.1f} s, {_age_in_words(moment.answer_age_ns)}"
            row = SheetRow(caption, moment.frame, moment.label_map, moment.truth)
            if wanted and written >= wanted[0]:
                wanted = [index for index in wanted if index > written]
                rows.append(row)
            written += 1
    return rows or [row]


def _spread(rows: list[SheetRow]) -> list[SheetRow]:
    count = min(SHEET_ROWS, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _age_in_words(age_ns: int | None) -> str:
    if age_ns is None:
        return "before the first answer"
    return f"labels of {age_ns / 1e9:.2f} s before" if age_ns else "labels of this frame"


def _told(facts: Mapping[str, Any]) -> dict[str, str]:
    config = facts["config"]
    # What a node runs that was there before is not ours to choose.
    is_running = config.get("running") is not None
    checkpoint = facts["checkpoint"]["path"] if is_running else config.get("checkpoint")
    told = {
        "mode": facts["mode"],
        "bag": str(facts["bag"]),
        "topic": facts["topic"],
        "settings": ", ".join(f"{name} {value}" for name, value in config.items() if value),
        "checkpoint": str(checkpoint or "the one that comes with the package"),
        "device": facts["device_name"],
        "commit": facts["commit"] or "not a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
    }
    return told | ({"missing": facts["damage"]} if facts.get("damage") else {})


def print_figures(title: str, figures: Mapping[str, Any]) -> None:
    """Show the figures of a run on the terminal."""
    sent, answered, latency = figures["frames_sent"], figures["frames_answered"], figures["latency_ms"]
    table = Table.grid(padding=(0, 3))
    table.add_row("frames sent", f"{sent} at {figures['rate_hz']:g} Hz")
    table.add_row("frames answered", f"{answered} ({answered / max(sent, 1):.0%})")
    table.add_row("frames dropped", f"{figures['frames_dropped']} ({figures['frames_dropped'] / max(sent, 1):.0%})")
    if latency["median"] is not None:
        table.add_row("latency", f"{latency['median']:.0f} ms median, {latency['p99']:.0f} ms at the 99th percentile")
    if figures["jitter_ms"] is not None:
        table.add_row("jitter", f"{figures['jitter_ms']:.1f} ms, mean change from one answer to the next")
    if figures.get("mIoU") is not None:
        table.add_row("mIoU", f"{figures['mIoU']:.1f} % over all frames sent, holding the last answer")
        for window in (8, 16):
            if figures[f"mVC{window}"] is not None:
                table.add_row(
                    f"mVC{window}",
                    f"{figures[f'mVC{window}']:.1f} %, strict {figures[f'mVC{window}_strict']:.1f} %, over "
                    f"{figures[f'mVC{window}_windows']} windows answered without a gap",
                )
    if figures.get("changed_pixels") is not None:
        table.add_row("changing pixels", f"{figures['changed_pixels']:.2f} % from one answered frame to the next")
    Console().print(Panel(table, title=title, expand=False))
    for cause, count in figures["bad_frames"].items():
        print(f"  {count} bad: {cause}")


def print_files(out: Path, more: Sequence[str]) -> None:
    """Show where the results are.

    Args:
        out: their folder.
        more: which of ``LIVE_FILES`` are there too.
    """
    table = Table.grid(padding=(0, 3))
    for name, meaning in (FILES | {name: LIVE_FILES[name] for name in more}).items():
        table.add_row(name, meaning)
    print(f"{out}:")
    Console().print(Padding(table, (0, 0, 0, 2)))
