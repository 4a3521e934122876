"""The command ``sdcpc demo``: a drive, a bag or a video played live to the real node, and what it answered."""

import argparse
import tempfile
from pathlib import Path

from sdcpc_core.arguments import add_segmenter_arguments, positive_number, size_hw
from sdcpc_core.errors import ConfigError


def demo(argv: list[str]) -> None:
    """Play a synthetic drive, a bag or a video to the live node and show what it answers."""
    arguments = _parse(argv)
    if arguments.topic and not arguments.bag:
        raise ConfigError("--topic belongs to --bag")

    from sdcpc_core.checkpoint import default_checkpoint, read_header
    from sdcpc_core.output import make_folder
    from sdcpc_ros.demo_source import DEMO_SEED, TRUTH_TOPIC
    from sdcpc_ros.drive_results import check_results, judge, print_figures, print_files
    from sdcpc_ros.live import NODE_LOG, RECORDED, RECORDING, Passage, live_facts, own_node, play_live

    check_results(arguments.out, overwrite=True)
    checkpoint = arguments.checkpoint or default_checkpoint()
    header = read_header(checkpoint)
    recording = make_folder(arguments.out) / RECORDING
    # The node starts while its input is made.
    with tempfile.TemporaryDirectory() as workspace, own_node(arguments, checkpoint) as node:
        source, topic = _source(arguments, Path(workspace))
        run, node_facts = play_live(
            source,
            topic,
            recording,
            node=node,
            namespace=node.namespace,
            passage=Passage(),
            labels=header.labels,
        )
    is_synthetic = not (arguments.video or arguments.bag)
    facts = {
        **live_facts(arguments, checkpoint, header, node_facts),
        "bag": str(arguments.video or arguments.bag or "a synthetic drive"),
        "topic": topic,
        "seed": DEMO_SEED if is_synthetic else None,
    }
    figures = judge(recording, topic, RECORDED["label"], TRUTH_TOPIC, header.labels, run, facts, arguments.out)
    print_figures(f"{header.model_name}, live on {facts['device_name']}", figures)
    print_files(arguments.out, [RECORDING, NODE_LOG])


def _source(arguments: argparse.Namespace, workspace: Path) -> tuple[Path, str]:
    """The bag to play and the topic of its images."""
    from sdcpc_ros.bag_reader import BagReader
    from sdcpc_ros.demo_source import CAMERA_TOPIC, record_drive, record_video

    if arguments.bag:
        with BagReader(arguments.bag) as reader:
            (topic,) = reader.image_topics([arguments.topic] if arguments.topic else [])
            return arguments.bag, topic
    path = workspace / "source.mcap"
    if arguments.video:
        record_video(path, arguments.video)
    else:
        record_drive(path, seconds=arguments.seconds, rate_hz=arguments.rate, size_hw=arguments.size)
    return path, CAMERA_TOPIC


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
