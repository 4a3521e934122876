"""The command ``sdcpc demo``: a drive, a bag or a video played live to the real node, and what it answered."""

import argparse
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.arguments import add_segmenter_arguments, positive_number, size_hw
from sdcpc_core.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch

    from sdcpc_ros.node_process import NodeProcess
    from sdcpc_ros.replay import ReplayRun

OUTPUTS = ("label", "overlay")
START_TIMEOUT_S = 180.0
"""Importing PyTorch and warming up the network can take this long on a small, busy computer."""
LINGER_S = 15.0


def demo(argv: list[str]) -> None:
    """Play a synthetic drive, a bag or a video to the live node and show what it answers."""
    arguments = _parse(argv)
    if arguments.topic and not arguments.bag:
        raise ConfigError("--topic belongs to --bag")
    with tempfile.TemporaryDirectory() as workspace:
        _run(arguments, Path(workspace))


def _run(arguments: argparse.Namespace, workspace: Path) -> None:
    from sdcpc_core.checkpoint import default_checkpoint, read_header
    from sdcpc_core.output import make_folder
    from sdcpc_core.report import write_report
    from sdcpc_core.streaming import find_device
    from sdcpc_ros.demo_results import make_pictures, print_report
    from sdcpc_ros.node_process import NodeProcess
    from sdcpc_ros.replay import isolated_ros

    checkpoint = arguments.checkpoint or default_checkpoint()
    header = read_header(checkpoint)
    device = find_device(arguments.device)
    out = make_folder(arguments.out)
    recording = out / "segmentation.mcap"
    namespace = f"/demo_{os.getpid()}"
    parameters = {"checkpoint": str(checkpoint), "device": arguments.device, "precision": arguments.precision}
    with (
        isolated_ros(str(workspace / "log")),
        # The node starts while its input is made.
        NodeProcess(out / "node.log", parameters, namespace=namespace) as node,
    ):
        source, topic = _source(arguments, workspace)
        _check_frames(source, topic)
        run = _record(source, topic, recording, node, namespace)
    figures = make_pictures(recording, topic, header.labels, run, out)
    report = {**_facts(arguments, device, checkpoint, header), "topic": topic, **figures}
    write_report(out / "report.json", report)
    print_report(report, out)


def _source(arguments: argparse.Namespace, workspace: Path) -> tuple[Path, str]:
    """The bag to play and the topic of its images."""
    from sdcpc_ros.bag_io import BagReader
    from sdcpc_ros.demo_source import CAMERA_TOPIC, record_drive, record_video

    if arguments.bag:
        with BagReader(arguments.bag) as reader:
            return arguments.bag, reader.image_topic(arguments.topic)
    path = workspace / "source.mcap"
    if arguments.video:
        record_video(path, arguments.video)
    else:
        record_drive(path, seconds=arguments.seconds, rate_hz=arguments.rate, size_hw=arguments.size)
    return path, CAMERA_TOPIC


def _check_frames(source: Path, topic: str) -> None:
    """Refuse a bag without one frame that the node can answer, before it is played to its end."""
    from sdcpc_core.models.video_model import check_size
    from sdcpc_ros.bag_io import BagReader, decode_frame

    causes = set()
    with BagReader(source) as reader:
        for connection, _, raw in reader.messages(topic):
            try:
                _, frame = decode_frame(raw, connection.msgtype)
                check_size(frame.shape[:2])
            except InputError as err:
                causes.add(str(err))
            else:
                return
    raise InputError(f"no frame on {topic} is usable: {'; '.join(sorted(causes))}")


def _record(source: Path, topic: str, recording: Path, node: "NodeProcess", namespace: str) -> "ReplayRun":
    """Play the source to the node; record both."""
    from sdcpc_core.progress import progress
    from sdcpc_ros.bag_io import IMAGE, BagReader, decode_frame, image_message, standard_types
    from sdcpc_ros.bag_writer import BagWriter
    from sdcpc_ros.node_process import NodeError
    from sdcpc_ros.replay import Replay

    with (
        BagReader(source) as reader,
        BagWriter(recording, overwrite=True) as writer,
        Replay(namespace, outputs=OUTPUTS) as replay,
    ):
        topics = {name: f"/segmentation/{name}" for name in OUTPUTS}
        # A recording of an earlier demo can be played: its answers give way to the new ones.
        writer.copy_topics(reader, without=topics.values())
        connections = {name: writer.add_topic(output, IMAGE) for name, output in topics.items()}

        def images(messages: Iterable[tuple[Any, int, bytes]]) -> Iterator[tuple[int, bytes]]:
            for connection, bag_ns, raw in messages:
                if connection.msgtype != IMAGE:
                    try:
                        raw = standard_types().serialize_cdr(
                            image_message(*decode_frame(raw, connection.msgtype)), IMAGE
                        )
                    except InputError:
                        continue
                yield bag_ns, bytes(raw)

        try:
            replay.wait_until_active(START_TIMEOUT_S, node.check)
            messages = writer.copy_messages(reader, topic)
            with progress(messages, "playing it live    ", reader.count(topic)) as shown:
                run = replay.play(
                    images(shown),
                    lambda name, bag_ns, raw: writer.write(connections[name], bag_ns, raw),
                    linger_s=LINGER_S,
                    check=node.check,
                )
            if not run.answered:
                raise NodeError(f"the node answered none of {run.sent} frames")
        except NodeError as err:
            raise NodeError(": ".join(filter(None, [str(err), node.last_error()])) + f"; see {node.log_path}") from err
    return run


def _facts(arguments: argparse.Namespace, device: "torch.device", checkpoint: Path, header: Any) -> dict[str, Any]:
    import torch

    from sdcpc_core.report import run_facts
    from sdcpc_ros.demo_source import DEMO_SEED

    synthetic = not (arguments.video or arguments.bag)
    return {
        **run_facts(vars(arguments)),
        "seed": DEMO_SEED if synthetic else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "checkpoint": {"path": str(checkpoint), "model": header.model_name, "provenance": dict(header.provenance)},
    }


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc demo", description=demo.__doc__)
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("out/demo"), help="default: %(default)s")
    footage = parser.add_mutually_exclusive_group()
    footage.add_argument("--video", metavar="FILE", type=Path, help="play a video, or a folder of images")
    footage.add_argument("--bag", metavar="BAG", type=Path, help="play a bag")
    parser.add_argument("--topic", help="images of the bag; needed where it has several image topics")
    drive = parser.add_argument_group("synthetic drive")
    drive.add_argument(
        "--seconds", metavar="S", type=positive_number, default=15.0, help="length (default: %(default)s)"
    )
    drive.add_argument(
        "--rate", metavar="HZ", type=positive_number, default=15.0, help="frames per second (default: %(default)s)"
    )
    drive.add_argument("--size", metavar="HxW", type=size_hw, default=(360, 480), help="default: 360x480")
    add_segmenter_arguments(parser)
    return parser.parse_args(argv)
