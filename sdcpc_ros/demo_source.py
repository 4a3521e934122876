"""What the demo plays: a synthetic drive with its true labels, or a video, made into a bag."""

from pathlib import Path
from typing import Any

from sdcpc_core.data.synthetic import SyntheticDrive
from sdcpc_core.progress import progress
from sdcpc_core.video import START_NS, check_rate, read_video
from sdcpc_ros.bag_io import IMAGE, image_message, standard_types
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.conversions import ns_to_stamp

DEMO_SEED = 20_000_000
"""Seed of the synthetic drive of the demo; nothing is ever trained on it."""

CAMERA_TOPIC = "/camera/image_raw"
TRUTH_TOPIC = "/ground_truth/label"


def record_drive(path: Path, *, seconds: float, rate_hz: float, size_hw: tuple[int, int]) -> None:
    """Draw a synthetic drive into a new bag, with its true labels on ``TRUTH_TOPIC``, showing progress.

    Raises:
        ConfigError: a rate or size that cannot be drawn.
        OutputError: the bag cannot be written.
    """
    check_rate(rate_hz)
    drive = SyntheticDrive(DEMO_SEED, size_hw, rate_hz)
    count = max(1, round(seconds * rate_hz))
    with BagWriter(path) as writer, progress(range(count), "drawing the drive  ") as indices:
        camera, truth = writer.add_topic(CAMERA_TOPIC, IMAGE), writer.add_topic(TRUTH_TOPIC, IMAGE)
        for index in indices:
            frame = drive.frame(index)
            stamp_ns = START_NS + frame.stamp_ns
            writer.write(camera, stamp_ns, image_message(_header(stamp_ns), frame.image))
            writer.write(truth, stamp_ns, image_message(_header(stamp_ns), frame.label_map))


def record_video(path: Path, video: Path) -> None:
    """Put a video, or a folder of images, into a new bag, showing progress.

    Raises:
        InputError: the video cannot be read.
        OutputError: the bag cannot be written.
    """
    footage = read_video(video)
    with BagWriter(path) as writer, progress(footage, "reading the video  ", footage.frame_count) as frames:
        camera = writer.add_topic(CAMERA_TOPIC, IMAGE)
        for frame, stamp_ns in frames:
            writer.write(camera, stamp_ns, image_message(_header(stamp_ns), frame))


def _header(stamp_ns: int) -> Any:

    types = standard_types().types
    stamp = ns_to_stamp(stamp_ns, types["builtin_interfaces/msg/Time"])
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
