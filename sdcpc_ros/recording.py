"""What a recording of a run shows: each frame with the newest answer there was for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet
from sdcpc_ros.bag_io import IMAGE, decode, decode_frame, stamp_of, with_stamp
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.truth import Truth

LABEL_DTYPES = {"mono8": "u1", "8UC1": "u1", "mono16": "<u2", "16UC1": "<u2"}


@dataclass(frozen=True)
class Moment:
    """A frame of a run.

    Attributes:
        bag_ns: time of recording of the frame (ns).
        frame: (H, W, 3) uint8 RGB.
        label_map: the newest answer to this frame or, where it has none, to an earlier one, (H, W); before the
            first answer all pixels are unlabelled.
        answer_age_ns: how much earlier than this frame the answered one was recorded (ns): 0 for an answer to the
            frame itself, None before the first answer.
        truth: true class ids, (H, W), where there are any.
        after_gap: whether this frame does not follow the moment before: what lies between is no picture, or a loop
            begins anew.
    """

    bag_ns: int
    frame: np.ndarray
    label_map: np.ndarray
    answer_age_ns: int | None
    truth: np.ndarray | None
    after_gap: bool = False


def moments(path: str | Path, labels: LabelSet, topic: str, label_topic: str, truth: Truth) -> Iterator[Moment]:
    """Go through a recording frame by frame, holding the last answer; frames that are no pictures are left out.

    Args:
        path: bag with the frames, their labels and perhaps the truth.
        labels: what the class ids mean; ids of the truth beyond them are unlabelled.
        topic: the frames.
        label_topic: the answers, in the order of their frames, each with the stamp of its frame.
        truth: true labels with the stamps of their frames; a topic may be absent, and what is no label map of its
            frame's size is left out.

    Raises:
        InputError: the bag, or a file of the truth, cannot be read.
    """
    with BagReader(path) as frames, BagReader(path) as answers, BagReader(path) as truths:
        answer_of = _ByStamp(answers, label_topic)
        truth_of = _ByStamp(truths, truth, every_loop=True) if isinstance(truth, str) else None
        held, held_ns = None, 0
        last_stamp_ns, is_gap = 0, False
        for connection, bag_ns, raw in frames.messages(topic):
            try:
                stamped = with_stamp(raw, bag_ns)
                _, frame = decode_frame(stamped, connection.msgtype)
            except InputError:
                is_gap = True
                continue
            stamp_ns = stamp_of(stamped)
            after_gap, is_gap, last_stamp_ns = is_gap or stamp_ns < last_stamp_ns, False, stamp_ns
            true_labels = truth_of.take(stamp_ns, bag_ns) if truth_of else _read_truth(truth, stamp_ns)
            if true_labels is not None:
                true_labels = _without_strays(true_labels, labels) if true_labels.shape == frame.shape[:2] else None
            answer = answer_of.take(stamp_ns, bag_ns)
            if answer is not None:
                held, held_ns = answer, bag_ns
            if held is None or held.shape != frame.shape[:2]:
                unlabelled = np.full(frame.shape[:2], labels.ignore_index, labels.label_dtype)
                yield Moment(bag_ns, frame, unlabelled, None, true_labels, after_gap)
            else:
                yield Moment(bag_ns, frame, held, bag_ns - held_ns, true_labels, after_gap)


class _ByStamp:
    """Label images of one topic, taken one by one by the stamps of the frames they belong to."""

    def __init__(self, reader: BagReader, topic: str, *, every_loop: bool = False) -> None:
        # Whether each loop has the same messages: then a stamp later than the last one passed is of this loop.
        self._every_loop = every_loop
        self._passed_ns = -1
        # A topic of this name in somebody's own bag may carry anything.
        self._messages = (
            (bag_ns, with_stamp(raw, bag_ns))
            for connection, bag_ns, raw in reader.messages(topic)
            if connection.msgtype == IMAGE
        )
        self._next = next(self._messages, None)

    def take(self, stamp_ns: int, bag_ns: int) -> np.ndarray | None:
        # In a loop stamps begin anew: what was recorded later may belong to a later frame whatever its stamp.
        while (
            self._next is not None
            and stamp_of(self._next[1]) < stamp_ns
            and (self._next[0] < bag_ns or (self._every_loop and stamp_of(self._next[1]) > self._passed_ns))
        ):
            self._pop()
        if self._next is None or stamp_of(self._next[1]) != stamp_ns:
            return None
        return _label_map(self._pop())

    def _pop(self) -> bytes:
        (_, raw), self._next = self._next, next(self._messages, None)
        self._passed_ns = stamp_of(raw)
        return raw


def _label_map(raw: bytes) -> np.ndarray | None:
    try:
        message = decode(raw, IMAGE)
    except InputError:
        return None
    dtype = LABEL_DTYPES.get(message.encoding)
    if dtype is None or message.data.size != message.height * message.width * np.dtype(dtype).itemsize:
        return None
    return message.data.view(dtype).reshape(message.height, message.width)


def _read_truth(truth: Truth, stamp_ns: int) -> np.ndarray | None:
    if truth is None or stamp_ns not in truth:
        return None

    from sdcpc_core.data.files import read_mask

    return read_mask(truth[stamp_ns])


def _without_strays(truth: np.ndarray, labels: LabelSet) -> np.ndarray:
    return np.where(truth < labels.num_classes, truth, labels.ignore_index).astype(labels.label_dtype)
