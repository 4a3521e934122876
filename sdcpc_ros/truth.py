"""True labels of a drive, from a topic of its bag or from a folder of PNG files."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from sdcpc_core.errors import InputError
from sdcpc_ros.bag_io import IMAGE, stamp_of, with_stamp
from sdcpc_ros.bag_reader import BagReader

Truth: TypeAlias = str | Mapping[int, Path] | None
"""Name of a topic, or PNG files by the stamp of their frame (ns), or none."""


def add_truth_argument(parser: argparse.ArgumentParser) -> None:
    """Add what a drive is judged by."""
    parser.add_argument(
        "--labels",
        metavar="TOPIC|FOLDER",
        help="true labels for mIoU and mVC: a topic of the bag, or a folder of PNG files of class ids, one for each "
        "frame in the order of their names, or named by stamp (ns); ids beyond the classes are unlabelled",
    )


def find_truth(name: str | None, reader: BagReader, topic: str) -> Truth:
    """Find what ``--labels`` stands for.

    Args:
        name: topic or folder; None for no truth.
        reader: an open bag.
        topic: the images that the labels belong to.

    Raises:
        InputError: neither a topic of images nor a folder, or files that cannot be told to belong to the frames.
    """
    if name is None:
        return None
    for connection in reader.connections:
        if connection.topic == name:
            if connection.msgtype != IMAGE:
                raise InputError(f"--labels {name} carries {connection.msgtype}, not label images ({IMAGE})")
            return name
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(f"--labels {name} is neither a topic of the bag nor a folder")

    from sdcpc_core.video import natural_order

    files = sorted(folder.glob("*.png"), key=natural_order)
    if files and all(file.stem.isdecimal() for file in files):
        by_stamp = {int(file.stem): file for file in files}
        if any(stamp_ns in by_stamp for stamp_ns in _stamps(reader, topic)):
            return by_stamp
    stamps = _stamps(reader, topic)
    if len(files) != len(stamps):
        raise InputError(
            f"{folder} holds {len(files)} PNG files, none named by the stamp of a frame, and {topic} has "
            f"{len(stamps)} frames; give one file for each frame, or name them by stamp (ns)"
        )
    return dict(zip(stamps, files, strict=True))


def _stamps(reader: BagReader, topic: str) -> list[int]:
    stamps = []
    for _, bag_ns, raw in reader.messages(topic):
        try:
            stamps.append(stamp_of(with_stamp(raw, bag_ns)))
        except InputError:
            # Too short for a header; it counts as a frame, and no file is ever read for it.
            stamps.append(-1)
    return stamps
