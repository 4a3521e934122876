"""The command ``sdcpc bag``: every frame of a recorded camera, in order, labelled offline."""

import argparse
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_ros.bag_io import IMAGE, BagReader, decode_frame, image_message
from sdcpc_ros.bag_writer import BagWriter

if TYPE_CHECKING:
    import numpy as np

    from sdcpc_core.streaming import Segmenter

PICTURES = ("color", "overlay", "confidence")
"""What can be written beside the labels; topics of the same names as the node's."""
ABSOLUTE_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


def bag(argv: list[str]) -> None:
    """Label every frame of a bag in order and write a bag with the labels added."""
    arguments = _parse(argv)
    if not ABSOLUTE_NAME.fullmatch(arguments.prefix):
        raise ConfigError(
            f"--prefix {arguments.prefix!r} is no absolute ROS name, such as /segmentation: letters, digits and _ "
            "between slashes, no digit first"
        )

    from sdcpc_core.report import check_report, run_facts, write_report
    from sdcpc_core.streaming import Segmenter

    check_report(arguments.json, out=arguments.out)
    writer = BagWriter(arguments.out, overwrite=arguments.overwrite)
    with BagReader(arguments.bag) as reader:
        topic = reader.image_topic(arguments.topic)
        segmenter = Segmenter.from_checkpoint(
            arguments.checkpoint, device=arguments.device, precision=arguments.precision
        )
        with writer:
            run = label_bag(reader, writer, topic, segmenter, prefix=arguments.prefix, pictures=arguments.add)
    print(f"{arguments.out}: {run}")
    if arguments.json:
        write_report(
            arguments.json,
            {**run_facts(vars(arguments)), "device": str(segmenter.device), "topic": topic, **run.report()},
        )


@dataclass
class BagRun:
    """What became of the frames of a bag.

    Attributes:
        frames: frames that were labelled.
        bad_frames: frames that could not be, by cause.
        step_ms: time each labelled frame took in the network (ms).
        seconds: time the whole run took (s).
    """

    frames: int = 0
    bad_frames: Counter[str] = field(default_factory=Counter)
    step_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        """The run as JSON values."""
        from sdcpc_core.report import latency_ms

        return {
            "frames": self.frames,
            "bad_frames": dict(self.bad_frames),
            "seconds": round(self.seconds, 2),
            "fps": round(self.frames / self.seconds, 2),
            "latency_ms": latency_ms(self.step_ms),
        }

    def __str__(self) -> str:
        lines = [f"{self.frames} frames labelled in {self.seconds:.1f} s, {self.frames / self.seconds:.1f} fps"]
        lines += [f"  {count} bad: {cause}" for cause, count in self.bad_frames.most_common()]
        return "\n".join(lines)


def label_bag(
    reader: BagReader,
    writer: BagWriter,
    topic: str,
    segmenter: "Segmenter",
    *,
    prefix: str = "/segmentation",
    pictures: tuple[str, ...] = (),
) -> BagRun:
    """Copy a bag and add the labels of one image topic, showing progress.

    Every message is copied as it is. Labels bear the header of their image and its time of recording.

    Args:
        reader: an open bag.
        writer: an open, empty bag.
        topic: the images to label.
        segmenter: the network.
        prefix: namespace of the added topics.
        pictures: which of ``PICTURES`` to add.

    Raises:
        InputError: not one of the frames is usable, or the bag is broken.
        OutputError: the bag cannot be written, or has a topic of such a name.
    """
    from sdcpc_core.progress import progress
    from sdcpc_ros.conversions import stamp_to_ns

    writer.copy_topics(reader)
    outputs = {name: writer.add_topic(f"{prefix}/{name}", IMAGE) for name in ("label", *pictures)}
    stream = segmenter.stream()
    run = BagRun()
    started_s = time.monotonic()
    with progress(writer.copy_messages(reader, topic), "labelling", reader.count(topic)) as images:
        for connection, bag_ns, raw in images:
            try:
                header, frame = decode_frame(raw, connection.msgtype)
                result = stream.step(
                    frame,
                    stamp_to_ns(header.stamp),
                    frame_id=header.frame_id,
                    receive_ns=bag_ns,
                    with_confidence="confidence" in pictures,
                )
            except InputError as err:
                run.bad_frames[str(err)] += 1
                continue
            run.frames += 1
            run.step_ms.append(result.timings.total_ms)
            for name, output in outputs.items():
                writer.write(output, bag_ns, image_message(header, _picture(name, frame, result, segmenter)))
    run.seconds = time.monotonic() - started_s
    if not run.frames:
        raise InputError(f"no frame on {topic} is usable: {'; '.join(run.bad_frames)}")
    return run


def _picture(name: str, frame: "np.ndarray", result: Any, segmenter: "Segmenter") -> "np.ndarray":
    from sdcpc_core.visualization import overlay

    if name == "label":
        return result.label_map
    if name == "confidence":
        return result.confidence
    if name == "color":
        return segmenter.labels.colorize(result.label_map)
    return overlay(frame, result.label_map, segmenter.labels)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc bag", description=bag.__doc__)
    parser.add_argument("bag", metavar="BAG", type=Path, help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument(
        "--out",
        metavar="BAG",
        type=Path,
        required=True,
        help="a name in .mcap makes one file, another a rosbag2 folder",
    )
    parser.add_argument("--topic", help="the images to label; needed where the bag has several image topics")
    parser.add_argument("--prefix", default="/segmentation", help="where the results go (default: %(default)s)")
    parser.add_argument("--add", nargs="+", choices=PICTURES, default=(), help="pictures to write beside the labels")
    add_segmenter_arguments(parser)
    add_output_arguments(parser)
    return parser.parse_args(argv)
