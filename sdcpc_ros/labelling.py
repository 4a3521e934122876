"""Labels for the cameras of a bag: every frame in order, or those a slower computer would have answered."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import InputError
from sdcpc_ros.bag_io import IMAGE, decode_frame, image_message, with_stamp
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.newest_wins import SimulatedWorker

if TYPE_CHECKING:
    import numpy as np
    from rosbags.interfaces import Connection

    from sdcpc_core.streaming import Segmenter, StepResult, Stream

PICTURES = ("color", "overlay", "confidence")
"""What can be written beside the labels; topics of the same names as the node's."""
NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class RealTime:
    """The computer to be simulated.

    Attributes:
        latency_ms: time it takes for a frame (ms); None for what this computer takes.
    """

    latency_ms: float | None = None


@dataclass
class BagRun:
    """What became of the frames of a bag.

    Attributes:
        cameras: by topic.
        seconds: time the whole run took (s).
        network_s: time of that in the network (s).
    """

    cameras: dict[str, CameraRun]
    seconds: float = 0.0
    network_s: float = 0.0

    @property
    def answered(self) -> int:
        """Frames that were labelled."""
        return sum(camera.answered for camera in self.cameras.values())

    def report(self) -> dict[str, Any]:
        """The run as JSON values."""
        return {
            "frames": self.answered,
            "seconds": round(self.seconds, 2),
            "fps": round(self.answered / self.seconds, 2),
            "network_share": round(self.network_s / self.seconds, 3),
        }


@dataclass(frozen=True)
class _Frame:
    topic: str
    msgtype: str
    bag_ns: int
    raw: bytes


@dataclass
class _Camera:
    """One image topic on its way through the network."""

    stream: "Stream"
    outputs: dict[str, "Connection"]
    run: CameraRun = field(default_factory=CameraRun)


def label_bag(
    reader: BagReader,
    writer: BagWriter,
    prefixes: Mapping[str, str],
    segmenter: "Segmenter",
    *,
    pictures: Sequence[str] = (),
    real_time: RealTime | None = None,
) -> BagRun:
    """Copy a bag and add the labels of some image topics, showing progress.

    Every message is copied as it is. Labels bear the header of their image, stamped with its time of recording where
    its stamp is zero, and are recorded together with it; in real time, when their answer would have come.

    Args:
        reader: an open bag.
        writer: an open, empty bag.
        prefixes: namespace of the added topics for each image topic.
        segmenter: the network.
        pictures: which of ``PICTURES`` to add.
        real_time: leave out the frames that a computer of this speed would have dropped.

    Raises:
        InputError: of one topic not a single frame is usable, or the bag is broken.
        OutputError: the bag cannot be written, or has a topic of such a name.
    """
    from sdcpc_core.progress import progress

    writer.copy_topics(reader)
    cameras = {
        topic: _Camera(
            segmenter.stream(),
            {name: writer.add_topic(f"{prefix}/{name}", IMAGE) for name in ("label", *pictures)},
        )
        for topic, prefix in prefixes.items()
    }
    run = BagRun({topic: camera.run for topic, camera in cameras.items()})

    def answer(frame: _Frame, start_ns: int) -> int:
        """Label a frame whose turn comes at ``start_ns``; how long that takes (ns)."""
        camera = cameras[frame.topic]
        began_ns = time.perf_counter_ns()
        try:
            header, picture, result = _step(camera.stream, frame, with_confidence="confidence" in pictures)
        except InputError as err:
            camera.run.sent_ns.remove(frame.bag_ns)
            camera.run.bad_frames[str(err)] += 1
            return 0
        took_ns = time.perf_counter_ns() - began_ns
        if real_time and real_time.latency_ms is not None:
            took_ns = round(real_time.latency_ms * NS_PER_MS)
        answer_ns = start_ns + took_ns if real_time else frame.bag_ns
        run.network_s += result.timings.total_ms / 1e3
        waited_ms = (start_ns - frame.bag_ns) / NS_PER_MS
        latency_ms = waited_ms + took_ns / NS_PER_MS if real_time else result.timings.total_ms
        camera.run.answers.append((frame.bag_ns, latency_ms))
        for name, output in camera.outputs.items():
            writer.write(output, answer_ns, image_message(header, _picture(name, picture, result, segmenter)))
        return took_ns

    worker = SimulatedWorker(answer)
    hand_over: Callable[[_Frame], object] = (
        (lambda frame: worker.offer(frame.topic, frame.bag_ns, frame))
        if real_time
        else (lambda frame: answer(frame, frame.bag_ns))
    )
    started_s = time.monotonic()
    with progress(writer.copy_messages(reader, *cameras), "labelling", reader.count(*cameras)) as images:
        for connection, bag_ns, raw in images:
            cameras[connection.topic].run.sent_ns.append(bag_ns)
            hand_over(_Frame(connection.topic, connection.msgtype, bag_ns, raw))
    worker.finish()
    run.seconds = time.monotonic() - started_s
    for topic, camera in run.cameras.items():
        if not camera.answered:
            raise InputError(f"no frame on {topic} is usable: {'; '.join(camera.bad_frames) or 'none can be read'}")
    return run


def _step(stream: "Stream", frame: _Frame, *, with_confidence: bool) -> tuple[Any, "np.ndarray", "StepResult"]:
    from sdcpc_ros.conversions import stamp_to_ns

    header, picture = decode_frame(with_stamp(frame.raw, frame.bag_ns), frame.msgtype)
    result = stream.step(
        picture,
        stamp_to_ns(header.stamp),
        frame_id=header.frame_id,
        receive_ns=frame.bag_ns,
        with_confidence=with_confidence,
    )
    return header, picture, result


def _picture(name: str, frame: "np.ndarray", result: "StepResult", segmenter: "Segmenter") -> "np.ndarray":
    from sdcpc_core.visualization import overlay

    if name == "label":
        return result.label_map
    if name == "confidence":
        return result.confidence
    if name == "color":
        return segmenter.labels.colorize(result.label_map)
    return overlay(frame, result.label_map, segmenter.labels)
