"""A bag played live to a node, and both recorded: what the demo and ``sdcpc replay`` share."""

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sdcpc_core.checkpoint import CheckpointHeader
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet
from sdcpc_core.models.video_model import check_size
from sdcpc_core.progress import progress
from sdcpc_core.report import run_facts
from sdcpc_core.streaming import find_device
from sdcpc_ros.bag_io import IMAGE, decode_frame, image_message, standard_types, with_stamp
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.conversions import NS_PER_S
from sdcpc_ros.diagnostics import classes_in_words
from sdcpc_ros.node_process import NodeError, NodeProcess
from sdcpc_ros.player import Player, isolated_ros

RECORDING, NODE_LOG = "segmentation.mcap", "node.log"
OUTPUTS = ("label", "overlay")
RECORDED = {name: f"/segmentation/{name}" for name in OUTPUTS}
"""Topics of the answers in the recording."""
START_TIMEOUT_S = 180.0
"""Importing PyTorch and warming up the network can take this long on a small, busy computer."""
LINGER_S = 15.0


@dataclass(frozen=True)
class Passage:
    """What of a bag is played, and how.

    Attributes:
        rate: times as fast as recorded.
        loops: how many times; each begins a frame's time after the one before.
        start_s: begin so long after the first frame (s).
        duration_s: play so much from there (s, as recorded); None for all.
    """

    rate: float = 1.0
    loops: int = 1
    start_s: float = 0.0
    duration_s: float | None = None


@dataclass(frozen=True)
class Stretch:
    """A passage on the clock of a bag.

    Attributes:
        start_ns: what was recorded before is left out (ns); None for nothing.
        stop_ns: what was recorded then or later is left out (ns); None for nothing.
        length_ns: from its first frame to that of the next loop (ns).
        frames: how many there are.
    """

    start_ns: int | None
    stop_ns: int | None
    length_ns: int
    frames: int


@contextmanager
def own_node(arguments: argparse.Namespace, checkpoint: Path) -> Iterator[NodeProcess]:
    """Run a node of our own, apart from all others on the network.

    Args:
        arguments: with ``out``, which has its log, ``device`` and ``precision``.
        checkpoint: what it runs.

    Raises:
        ConfigError: there is no such device.
        OutputError: the log cannot be written.
    """
    find_device(arguments.device)
    parameters = {
        "checkpoint": str(checkpoint),
        "device": arguments.device,
        "precision": arguments.precision,
        "use_sim_time": "true",
    }
    with (
        TemporaryDirectory() as log_dir,
        isolated_ros(log_dir),
        NodeProcess(arguments.out / NODE_LOG, parameters, namespace=f"/sdcpc_{os.getpid()}") as node,
    ):
        yield node


def live_facts(
    arguments: argparse.Namespace, checkpoint: Path, header: CheckpointHeader, node_facts: Mapping[str, str]
) -> dict[str, Any]:
    """What is needed to measure a live run again.

    Args:
        arguments: of the command.
        checkpoint: what a node of our own runs.
        header: of that.
        node_facts: what the node told of itself.
    """
    return {
        **run_facts(vars(arguments)),
        "mode": "live, newest frame first",
        "device_name": node_facts.get("device", "not told by the node"),
        "precision": node_facts.get("precision"),
        "checkpoint": {"path": str(checkpoint), "model": header.model_name, "provenance": dict(header.provenance)},
    }


def find_stretch(source: Path, topic: str, passage: Passage) -> Stretch:
    """Look at the frames of a passage before they are played.

    Raises:
        InputError: it holds no frame, or none that the node can answer.
    """
    with BagReader(source) as reader:
        first_ns = next((bag_ns for _, bag_ns, _ in reader.messages(topic)), None)
        if first_ns is None:
            raise InputError(f"no frame on {topic} can be read: {reader.damage or 'the bag is broken'}")
        begin_ns = first_ns + round(passage.start_s * NS_PER_S)
        # Without limits other topics are copied from the very first message to the last.
        start_ns = begin_ns if passage.start_s else None
        stop_ns = None if passage.duration_s is None else begin_ns + round(passage.duration_s * NS_PER_S)
        times, causes, usable = [], set(), False
        for connection, bag_ns, raw in reader.messages(topic, start_ns=start_ns, stop_ns=stop_ns):
            times.append(bag_ns)
            if not usable:
                try:
                    _read(raw, connection.msgtype)
                    usable = True
                except InputError as err:
                    causes.add(str(err))
    if not times:
        raise InputError(f"{topic} has no frame {passage.start_s:g} s after its first; choose another --start")
    if not usable:
        raise InputError(f"no frame on {topic} is usable: {'; '.join(sorted(causes))}")
    period_ns = (times[-1] - times[0]) // (len(times) - 1) if len(times) > 1 else NS_PER_S
    return Stretch(start_ns, stop_ns, times[-1] - times[0] + period_ns, len(times))


def play_live(
    source: Path,
    topic: str,
    recording: Path,
    *,
    namespace: str,
    image_topic: str = "image",
    node: NodeProcess | None = None,
    passage: Passage,
    labels: LabelSet,
) -> tuple[CameraRun, dict[str, str]]:
    """Play images to a node with ``/clock``, showing progress; record the bag and what the node answers.

    In the recording time goes on from loop to loop, where the stamps of the frames begin anew.

    Args:
        source: bag with the images.
        topic: the images.
        recording: new bag; one that is there is replaced.
        namespace: of the node.
        image_topic: where the node listens.
        node: its process, where it is ours.
        passage: what is played.
        labels: what its answers are taken for.

    Returns:
        What became of the frames, and what the node told of itself.

    Raises:
        ConfigError: the node has other classes.
        InputError: there is no frame that can be answered, or the bag is broken.
        NodeError: the node does not start, has ended, or answers nothing.
        OutputError: the recording cannot be written.
    """
    stretch = find_stretch(source, topic, passage)
    check = node.check if node else _no_check
    with (
        BagReader(source) as reader,
        BagWriter(recording, overwrite=True) as writer,
        Player(namespace, image_topic, outputs=OUTPUTS) as player,
    ):
        # A recording of an earlier run can be played: its answers give way to the new ones.
        writer.copy_topics(reader, without=RECORDED.values())
        connections = {name: writer.add_topic(output, IMAGE) for name, output in RECORDED.items()}
        try:
            if node is None:
                print(f"waiting for a node in {namespace or '/'} to be active, for {START_TIMEOUT_S:g} s at most")
            player.wait_until_active(START_TIMEOUT_S, check)
            player.wait_for_facts()
            _check_classes(player.node_facts, labels)
            messages = _passes(reader, writer, topic, stretch, passage.loops)
            with progress(messages, "playing it live    ", stretch.frames * passage.loops) as shown:
                bad_frames: Counter[str] = Counter()
                run = player.play(
                    _images(shown, bad_frames),
                    lambda name, bag_ns, raw: writer.write(connections[name], bag_ns, raw),
                    rate=passage.rate,
                    linger_s=LINGER_S,
                    check=check,
                )
            run.bad_frames = bad_frames
            if not run.answered:
                raise NodeError(f"the node answered none of {run.sent} frames")
        except NodeError as err:
            if node is None:
                raise
            raise NodeError(": ".join(filter(None, [str(err), node.last_error()])) + f"; see {node.log_path}") from err
    return run, player.node_facts


def _no_check() -> None:
    """Whether a node that somebody else runs is alive shows in its answers alone."""


def _check_classes(node_facts: Mapping[str, str], labels: LabelSet) -> None:
    """Refuse to take the ids of one set of classes for those of another."""
    ours = classes_in_words(labels)
    theirs = node_facts.get("classes", ours)
    if theirs != ours:
        raise ConfigError(
            f"the node answers with {theirs} classes (checkpoint {node_facts.get('checkpoint')}), and here are "
            f"{ours}; name its checkpoint with --checkpoint"
        )


def _passes(
    reader: BagReader, writer: BagWriter, topic: str, stretch: Stretch, loops: int
) -> Iterator[tuple[Any, int, bytes]]:
    for number in range(loops):
        yield from writer.copy_messages(
            reader, topic, start_ns=stretch.start_ns, stop_ns=stretch.stop_ns, shift_ns=number * stretch.length_ns
        )


def _images(messages: Iterable[tuple[Any, int, bytes]], bad_frames: Counter[str]) -> Iterator[tuple[int, bytes]]:
    """Images as the node takes them; what it would refuse is left out, and counted by cause."""
    for connection, bag_ns, raw in messages:
        try:
            stamped = with_stamp(raw, bag_ns)
            header, frame = _read(stamped, connection.msgtype)
        except InputError as err:
            bad_frames[str(err)] += 1
            continue
        if connection.msgtype != IMAGE:
            stamped = standard_types().serialize_cdr(image_message(header, frame), IMAGE)
        yield bag_ns, bytes(stamped)


def _read(raw: bytes, msgtype: str) -> tuple[Any, np.ndarray]:
    header, frame = decode_frame(raw, msgtype)
    check_size(frame.shape[:2])
    return header, frame
