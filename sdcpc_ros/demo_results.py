"""What the demo shows of a recorded run: an overlay video, a contact sheet and figures."""

from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from sdcpc_core.labels import LabelSet
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.output import atomic_output, output_errors
from sdcpc_core.progress import progress
from sdcpc_core.report import latency_ms
from sdcpc_core.video import VideoWriter
from sdcpc_core.visualization import SheetRow, contact_sheet, overlay
from sdcpc_ros.demo_source import TRUTH_TOPIC
from sdcpc_ros.recording import moments
from sdcpc_ros.replay import ReplayRun

SHEET_ROWS = 4
FILES = {
    "overlay.mp4": "the drive with its labels",
    "contact_sheet.png": "a few moments side by side",
    "segmentation.mcap": "images, labels and overlays: ros2 bag play -s mcap FILE; ROS 2 Humble needs the package\n"
    "ros-humble-rosbag2-storage-mcap",
    "report.json": "these figures and how they came to be",
    "node.log": "what the node said",
}
HELD = (
    "A frame without an answer of its own counts, and is shown, with the newest answer to an earlier frame; "
    "before the first answer every pixel counts as wrong."
)


def make_pictures(recording: Path, topic: str, labels: LabelSet, run: ReplayRun, out: Path) -> dict[str, Any]:
    """Make the pictures of a recording and measure it, showing progress.

    The video has the size of the first frame, and repeats its last picture where frames could not be read.

    Args:
        recording: bag with frames, answers and perhaps the truth.
        topic: the frames.
        labels: what the class ids mean.
        run: how the frames were played.
        out: folder for ``overlay.mp4`` and ``contact_sheet.png``.

    Returns:
        The figures of the report; ``mIoU`` is None without truth.

    Raises:
        InputError: the recording cannot be read.
        OutputError: a picture cannot be written.
    """
    confusion = ConfusionMatrix(labels.num_classes, labels.ignore_index)
    on_sheet = [run.sent * (2 * i + 1) // (2 * SHEET_ROWS) for i in range(SHEET_ROWS)]
    rows: list[SheetRow] = []
    has_truth = False
    before_first_answer = written = 0
    last = None
    recorded = moments(recording, labels, topic, "/segmentation/label", TRUTH_TOPIC)
    with (
        VideoWriter(out / "overlay.mp4", run.rate_hz, overwrite=True) as video,
        progress(recorded, "making the pictures", run.sent) as shown,
    ):
        for moment in shown:
            seconds = (moment.bag_ns - run.first_bag_ns) / 1e9
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
            before_first_answer += moment.answer_age_ns is None
            if moment.truth is not None:
                has_truth = True
                confusion.update(moment.label_map, moment.truth)
            caption = f"{seconds:.1f} s, {_age_in_words(moment.answer_age_ns)}"
            row = SheetRow(caption, moment.frame, moment.label_map, moment.truth)
            if on_sheet and written >= on_sheet[0]:
                on_sheet = [index for index in on_sheet if index > written]
                rows.append(row)
            written += 1
    _, png = cv2.imencode(".png", cv2.cvtColor(contact_sheet(rows or [row], labels), cv2.COLOR_RGB2BGR))
    sheet = out / "contact_sheet.png"
    with output_errors(sheet), atomic_output(sheet, overwrite=True) as draft:
        draft.write_bytes(png)
    return {
        "frames_sent": run.sent,
        "frames_answered": run.answered,
        "frames_dropped": run.dropped,
        "frames_before_first_answer": before_first_answer,
        "rate_hz": round(run.rate_hz, 3),
        "latency_ms": latency_ms(run.latency_ms),
        "player_lag_ms": latency_ms(run.lag_ms),
        "mIoU": round(confusion.mIoU(), 2) if has_truth else None,
        "pixel_accuracy": round(confusion.pixel_accuracy(), 2) if has_truth else None,
        "held": HELD,
    }


def _age_in_words(age_ns: int | None) -> str:
    if age_ns is None:
        return "before the first answer"
    return f"labels of {age_ns / 1e9:.2f} s before" if age_ns else "labels of this frame"


def print_report(report: dict[str, Any], out: Path) -> None:
    """Show the figures and where the files are."""
    console = Console()
    sent, answered, latency = report["frames_sent"], report["frames_answered"], report["latency_ms"]
    figures = Table.grid(padding=(0, 3))
    figures.add_row("frames sent", f"{sent} at {report['rate_hz']:g} Hz")
    figures.add_row("frames answered", f"{answered} ({answered / sent:.0%})")
    figures.add_row("frames dropped", f"{report['frames_dropped']} ({report['frames_dropped'] / sent:.0%})")
    figures.add_row("latency", f"{latency['median']:.0f} ms median, {latency['p99']:.0f} ms at the 99th percentile")
    if report["mIoU"] is not None:
        figures.add_row("mIoU", f"{report['mIoU']:.1f} % over all frames sent, holding the last answer")
    console.print(Panel(figures, title=f"{report['checkpoint']['model']}, live on {report['device']}", expand=False))
    files = Table.grid(padding=(0, 3))
    for name, meaning in FILES.items():
        files.add_row(str(out / name), meaning)
    console.print(files)
