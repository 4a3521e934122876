"""The command ``sdcpc replay``: a bag played live to the node, and how it kept up."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments, positive_number
from sdcpc_core.errors import ConfigError
from sdcpc_ros.truth import add_truth_argument, find_truth


def replay(argv: list[str]) -> None:
    """Play a bag to the live node and judge what it answers, and when."""
    arguments = parse(argv)
    is_running = arguments.running is not None
    if arguments.image and not is_running:
        raise ConfigError("--image belongs to --running: a node of our own listens where it is told to")

    from sdcpc_core.checkpoint import default_checkpoint, read_header
    from sdcpc_core.output import check_output, make_folder
    from sdcpc_core.report import check_report, write_report
    from sdcpc_ros.bag_reader import BagReader
    from sdcpc_ros.drive_results import check_results, judge, print_figures, print_files
    from sdcpc_ros.live import NODE_LOG, RECORDED, RECORDING, Passage, live_facts, own_node, play_live

    check_report(arguments.json)
    check_results(arguments.out, overwrite=arguments.overwrite)
    recording = arguments.out / RECORDING
    check_output(recording, overwrite=arguments.overwrite)
    checkpoint = arguments.checkpoint or default_checkpoint()
    header = read_header(checkpoint)
    with BagReader(arguments.bag) as reader:
        (topic,) = reader.image_topics([arguments.topic] if arguments.topic else [])
        truth = find_truth(arguments.labels, reader, topic)
        damage = reader.damage
    for name in (topic, arguments.labels):
        if name in RECORDED.values():
            raise ConfigError(
                f"{name} is where the recording keeps the new answers; label the bag with another --prefix"
            )
    if damage:
        print(f"warning: {arguments.bag}: {damage}; what can be read of it is played", file=sys.stderr)
    make_folder(arguments.out)
    with nullcontext() if is_running else own_node(arguments, checkpoint) as node:
        run, node_facts = play_live(
            arguments.bag,
            topic,
            recording,
            node=node,
            namespace=arguments.running if node is None else node.namespace,
            image_topic=(arguments.image or topic) if node is None else "image",
            passage=Passage(arguments.rate, arguments.loops, arguments.start, arguments.duration),
            labels=header.labels,
        )
    facts = {
        **live_facts(arguments, checkpoint, header, node_facts),
        "bag": str(arguments.bag),
        "topic": topic,
        "damage": damage,
    }
    if is_running:
        facts["mode"] += ", a node that ran already"
        facts["checkpoint"] = {"path": node_facts.get("checkpoint", "not told by the node")}
    figures = judge(recording, topic, RECORDED["label"], truth, header.labels, run, facts, arguments.out)
    print_figures(f"{topic}, {facts['mode']}", figures)
    print_files(arguments.out, [RECORDING] if node is None else [RECORDING, NODE_LOG])
    if arguments.json:
        write_report(arguments.json, {**facts, **figures})


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="sdcpc replay", description=replay.__doc__)
    parser.add_argument("bag", metavar="BAG", type=Path, help="rosbag2 folder, .mcap or .db3 file, or ROS 1 bag")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("out/replay"), help="default: %(default)s")
    parser.add_argument("--topic", help="the images to play; needed where the bag has several image topics")
    parser.add_argument(
        "--rate", metavar="R", type=positive_number, default=1.0, help="times as fast as recorded (default: 1)"
    )
    parser.add_argument("--loops", metavar="N", type=_count, default=1, help="how many times (default: 1)")
    parser.add_argument("--start", metavar="S", type=_seconds, default=0.0, help="begin so long after the first frame")
    parser.add_argument(
        "--duration", metavar="S", type=positive_number, help="play so much, as recorded (default: all)"
    )
    add_truth_argument(parser)
    running = parser.add_argument_group("a node that runs already, in place of our own")
    running.add_argument(
        "--running",
        metavar="NAMESPACE",
        nargs="?",
        const="",
        help="play to the node of this namespace, the root by default; give it use_sim_time:=true",
    )
    running.add_argument("--image", metavar="TOPIC", help="where it listens (default: the topic's name in the bag)")
    add_segmenter_arguments(
        parser.add_argument_group("our own node; of a running one the checkpoint tells the classes")
    )
    add_output_arguments(parser)
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _seconds(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else positive_number(text)
