"""The command ``sdcpc view``: camera, labels, confidence and latency in the viewer Rerun, live or saved."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sdcpc_core.arguments import add_segmenter_arguments
from sdcpc_core.errors import ConfigError, InputError, MissingDependencyError, OutputError

if TYPE_CHECKING:
    import numpy as np
    import rerun

    from sdcpc_core.labels import LabelSet
    from sdcpc_core.streaming import StepResult

APPLICATION = "sdcpc"
CAMERA, CONFIDENCE, LATENCY = "camera", "confidence", "latency_ms"
IMAGE, LABELS = f"{CAMERA}/image", f"{CAMERA}/labels"
JPEG_QUALITY = 85


def view(argv: list[str]) -> None:
    """Show a bag or a video with its labels, confidence and latency in Rerun, or save that as .rrd."""
    arguments = _parse(argv)
    if arguments.save and arguments.save.suffix != ".rrd":
        raise OutputError(f"cannot write {arguments.save}: a recording of Rerun is named .rrd")
    if arguments.topic and not _is_bag(arguments.footage):
        raise ConfigError(f"--topic belongs to a bag, and {arguments.footage} is none")
    try:
        import rerun
    except ImportError as err:
        raise MissingDependencyError(f"{err}; the viewer is Rerun: pip install '.[view]' in the checkout") from err

    from sdcpc_core.output import atomic_output, check_output, output_errors
    from sdcpc_core.progress import progress
    from sdcpc_core.streaming import Segmenter

    if arguments.save:
        check_output(arguments.save, overwrite=arguments.overwrite)
    with ExitStack() as opened:
        frames, count = _open(arguments.footage, arguments.topic, opened)
        segmenter = Segmenter.from_checkpoint(
            arguments.checkpoint, device=arguments.device, precision=arguments.precision
        )
        if arguments.save:
            opened.enter_context(output_errors(arguments.save))
            draft = opened.enter_context(atomic_output(arguments.save, overwrite=arguments.overwrite))
        recording = rerun.RecordingStream(APPLICATION)
        opened.callback(recording.disconnect)
        if arguments.save:
            recording.save(draft)
        else:
            recording.spawn()
        send_layout(recording, segmenter.labels)
        stream = segmenter.stream()
        shown = opened.enter_context(progress(frames, "labelling", count))
        answered = 0
        for frame, stamp_ns, frame_id in shown:
            try:
                result = stream.step(frame, stamp_ns, frame_id=frame_id, with_confidence=True)
            except InputError:
                continue
            answered += 1
            send_frame(recording, frame, result)
        if not answered:
            raise InputError(f"no frame of {arguments.footage} is usable")
    print(f"{arguments.save or 'Rerun'}: {answered} frames")


def send_layout(recording: "rerun.RecordingStream", labels: "LabelSet") -> None:
    """Send the names and colours of the classes, and what stands where.

    Args:
        recording: open, and empty.
        labels: what the class ids mean.
    """
    import rerun
    import rerun.blueprint as layout

    classes = [
        (index, name, colour) for index, (name, colour) in enumerate(zip(labels.names, labels.palette, strict=True))
    ]
    recording.log(CAMERA, rerun.AnnotationContext(classes), static=True)
    recording.send_blueprint(
        layout.Blueprint(
            layout.Vertical(
                layout.Horizontal(
                    layout.Spatial2DView(origin=CAMERA, contents=IMAGE, name="Camera"),
                    layout.Spatial2DView(origin=CAMERA, contents=[IMAGE, LABELS], name="Overlay"),
                    layout.Spatial2DView(origin=CAMERA, contents=LABELS, name="Labels"),
                ),
                layout.Horizontal(
                    layout.Spatial2DView(origin=CONFIDENCE, name="Confidence"),
                    layout.TimeSeriesView(origin=LATENCY, name="Time per frame, ms"),
                    column_shares=[1, 2],
                ),
                row_shares=[3, 2],
            ),
            collapse_panels=True,
        )
    )


def send_frame(recording: "rerun.RecordingStream", frame: "np.ndarray", result: "StepResult") -> None:
    """Send a frame and its answer, at the time of the frame.

    Args:
        recording: open.
        frame: (H, W, 3) uint8 RGB.
        result: its segmentation, with confidence.
    """
    import numpy as np
    import rerun

    recording.set_time("stamp", timestamp=np.datetime64(result.stamp_ns, "ns"))
    recording.log(IMAGE, rerun.Image(frame).compress(jpeg_quality=JPEG_QUALITY))
    recording.log(LABELS, rerun.SegmentationImage(result.label_map))
    recording.log(CONFIDENCE, rerun.Image(result.confidence))
    recording.log(LATENCY, rerun.Scalars(result.timings.total_ms))


def _is_bag(path: Path) -> bool:
    from sdcpc_ros.bag_files import is_recording, is_ros1, recordings_in

    if path.is_dir():
        return (path / "metadata.yaml").exists() or bool(recordings_in(path))
    return is_ros1(path) or is_recording(path)


def _open(
    path: Path, topic: str | None, opened: ExitStack
) -> "tuple[Iterator[tuple[np.ndarray, int, str]], int | None]":
    """Frames with stamp and coordinate frame, and how many there are."""
    from sdcpc_core.video import read_video
    from sdcpc_ros.bag_reader import BagReader

    if not _is_bag(path):
        footage = read_video(path)
        return ((frame, stamp_ns, "") for frame, stamp_ns in footage), footage.frame_count
    reader = opened.enter_context(BagReader(path))
    (topic,) = reader.image_topics([topic] if topic else [])
    return _bag_frames(reader, topic), reader.count(topic)


def _bag_frames(reader, topic: str) -> "Iterator[tuple[np.ndarray, int, str]]":
    from sdcpc_ros.bag_io import decode_frame, with_stamp
    from sdcpc_ros.conversions import stamp_to_ns

    for connection, bag_ns, raw in reader.messages(topic):
        try:
            header, frame = decode_frame(with_stamp(raw, bag_ns), connection.msgtype)
        except InputError:
            continue
        yield frame, stamp_to_ns(header.stamp), header.frame_id


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc view", description=view.__doc__)
    parser.add_argument("footage", metavar="BAG|VIDEO", type=Path, help="a bag, a video, or a folder of images")
    parser.add_argument("--topic", help="images of the bag; needed where it has several image topics")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write a .rrd file instead of opening the viewer")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_segmenter_arguments(parser)
    return parser.parse_args(argv)
