"""The command ``sdcpc bag``: every frame of recorded cameras, in order, labelled and judged offline."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments, positive_number
from sdcpc_core.errors import ConfigError, OutputError
from sdcpc_core.output import final_place
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.labelling import PICTURES, RealTime, label_bag
from sdcpc_ros.truth import add_truth_argument, find_truth

ABSOLUTE_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
COMPRESSED = "/compressed"


def bag(argv: list[str]) -> None:
    """Label every frame of a bag in order, write a bag with the labels added, and judge them."""
    arguments = _parse(argv)
    if arguments.prefix and not ABSOLUTE_NAME.fullmatch(arguments.prefix):
        raise ConfigError(
            f"--prefix {arguments.prefix!r} is no absolute ROS name, such as /segmentation: letters, digits and _ "
            "between slashes, no digit first"
        )

    from sdcpc_core.report import check_report, device_name, run_facts, write_report
    from sdcpc_core.streaming import Segmenter
    from sdcpc_ros.drive_results import check_results, judge, print_figures

    check_report(arguments.json, out=arguments.out)
    if arguments.report and final_place(arguments.report) == final_place(arguments.out):
        raise OutputError(f"--report {arguments.report} is the place of the bag; choose another folder")
    check_results(arguments.report, overwrite=arguments.overwrite)
    writer = BagWriter(arguments.out, overwrite=arguments.overwrite)
    with BagReader(arguments.bag) as reader:
        topics = reader.image_topics(arguments.topic)
        places = _places(arguments.report, topics)
        for place in places.values():
            check_results(place, overwrite=arguments.overwrite)
        prefixes = _prefixes(topics, arguments.prefix)
        truths = {topic: find_truth(arguments.labels, reader, topic) for topic in topics}
        segmenter = Segmenter.from_checkpoint(
            arguments.checkpoint, device=arguments.device, precision=arguments.precision
        )
        if arguments.realtime and segmenter.working_size_hw:
            segmenter.warm_up(segmenter.working_size_hw)
        with writer:
            run = label_bag(reader, writer, prefixes, segmenter, pictures=arguments.add, real_time=arguments.realtime)
        damage = reader.damage
    print(
        f"{arguments.out}: {run.answered} frames labelled in {run.seconds:.1f} s, "
        f"{run.answered / run.seconds:.1f} fps, {run.network_s / run.seconds:.0%} of the time in the network"
    )
    if damage:
        print(f"warning: {arguments.bag}: {damage}; what can be read of it was labelled", file=sys.stderr)
    facts = {
        **run_facts(vars(arguments)),
        "mode": "real time, simulated" if arguments.realtime else "every frame, offline",
        "bag": str(arguments.bag),
        "damage": damage,
        "device": str(segmenter.device),
        "device_name": device_name(segmenter.device),
        **run.report(),
    }
    figures = {}
    for topic, camera in run.cameras.items():
        label_topic = f"{prefixes[topic]}/label"
        figures[topic] = judge(
            arguments.out,
            topic,
            label_topic,
            truths[topic],
            segmenter.labels,
            camera,
            {**facts, "topic": topic},
            places[topic],
        )
        print_figures(f"{topic}, {facts['mode']}", figures[topic])
    if arguments.json:
        # What a single camera came to is told flat, as everywhere.
        of_cameras = {"topic": topics[0], **figures[topics[0]]} if len(topics) == 1 else {"topics": figures}
        write_report(arguments.json, {**facts, **of_cameras})


def _places(report: Path | None, topics: Sequence[str]) -> dict[str, Path | None]:
    """Where the report of each topic goes: of several, in a folder for each."""
    if report is None or len(topics) == 1:
        return dict.fromkeys(topics, report)
    return {topic: report / topic.strip("/").replace("/", "_") for topic in topics}


def _prefixes(topics: Sequence[str], prefix: str | None) -> dict[str, str]:
    """Where the results of each image topic go: beside it where there are several."""
    if len(topics) == 1:
        return {topics[0]: prefix or "/segmentation"}
    if prefix:
        raise ConfigError(f"--prefix {prefix} is for one topic; the results of {len(topics)} go beside each of them")
    names = {topic: topic.removesuffix(COMPRESSED) for topic in topics}
    spaces = {topic: name.rpartition("/")[0] for topic, name in names.items()}
    # Cameras that share a namespace are told apart by their own names.
    chosen = spaces if len(set(spaces.values())) == len(topics) and all(spaces.values()) else names
    return {topic: f"{space}/segmentation" for topic, space in chosen.items()}


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc bag", description=bag.__doc__)
    parser.add_argument("bag", metavar="BAG", type=Path, help="rosbag2 folder, .mcap or .db3 file, or ROS 1 bag")
    parser.add_argument(
        "--out",
        metavar="BAG",
        type=Path,
        required=True,
        help="a name in .mcap makes one file, another a rosbag2 folder",
    )
    parser.add_argument(
        "--topic", nargs="+", default=(), help="the images to label; needed where the bag has several image topics"
    )
    parser.add_argument("--prefix", help="where the results of one topic go (default: /segmentation)")
    parser.add_argument("--add", nargs="+", choices=PICTURES, default=(), help="pictures to write beside the labels")
    parser.add_argument(
        "--realtime",
        metavar="MS",
        nargs="?",
        type=_latency,
        const=RealTime(),
        help="label only what a computer would answer that takes so long for a frame (ms; this computer's time where "
        "none is given), the newest frame first",
    )
    add_truth_argument(parser)
    parser.add_argument("--report", metavar="FOLDER", type=Path, help="make a page, a video and figures there")
    add_segmenter_arguments(parser)
    add_output_arguments(parser)
    return parser.parse_args(argv)


def _latency(text: str) -> RealTime:
    return RealTime(positive_number(text))
