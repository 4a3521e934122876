"""What a recording of a live run shows: each frame with the newest answer there was for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet
from sdcpc_ros.bag_io import IMAGE, BagReader, decode, decode_frame, stamp_of

LABEL_DTYPES = {"mono8": "u1", "8UC1": "u1", "mono16": "<u2", "16UC1": "<u2"}


@dataclass(frozen=True)
class Moment:
    """A frame of a live run.

    Attributes:
        bag_ns: time of recording of the frame (ns).
        frame: (H, W, 3) uint8 RGB.
        label_map: the newest answer to this frame or, where it has none, to an earlier one, (H, W); before the
            first answer all pixels are unlabelled.
        answer_age_ns: how much older than this frame the answered one is (ns): 0 for an answer to the frame itself,
            None before the first answer.
        truth: true class ids, (H, W), where the recording has them.
    """

    bag_ns: int
    frame: np.ndarray
    label_map: np.ndarray
    answer_age_ns: int | None
    truth: np.ndarray | None


def moments(path: str | Path, labels: LabelSet, topic: str, label_topic: str, truth_topic: str) -> Iterator[Moment]:
    """Go through a recording frame by frame, holding the last answer; frames that are no pictures are left out.

    Args:
        path: bag with the frames, their labels and perhaps the truth.
        labels: what the class ids mean.
        topic: the frames.
        label_topic: the answers, in the order of their frames, each with the stamp of its frame.
        truth_topic: true labels with the stamps of their frames; may be absent, and what is no label map of its
            frame's size is left out.

    Raises:
        InputError: the bag cannot be read.
    """
    with BagReader(path) as frames, BagReader(path) as answers, BagReader(path) as truths:
        answer_of, truth_of = _ByStamp(answers, label_topic), _ByStamp(truths, truth_topic)
        held, held_ns = None, 0
        for connection, bag_ns, raw in frames.messages(topic):
            try:
                stamp_ns = stamp_of(raw)
                _, frame = decode_frame(raw, connection.msgtype)
            except InputError:
                continue
            answer, truth = answer_of.take(stamp_ns), truth_of.take(stamp_ns)
            if truth is not None and truth.shape != frame.shape[:2]:
                truth = None
            if answer is not None:
                held, held_ns = answer, stamp_ns
            if held is None or held.shape != frame.shape[:2]:
                unlabelled = np.full(frame.shape[:2], labels.ignore_index, labels.label_dtype)
                yield Moment(bag_ns, frame, unlabelled, None, truth)
            else:
                yield Moment(bag_ns, frame, held, stamp_ns - held_ns, truth)


class _ByStamp:
    """Label images of one topic, taken one by one by the stamps of the frames they belong to."""

    def __init__(self, reader: BagReader, topic: str) -> None:
        # A topic of this name in somebody's own bag may carry anything.
        self._messages = (raw for connection, _, raw in reader.messages(topic) if connection.msgtype == IMAGE)
        self._next = next(self._messages, None)

    def take(self, stamp_ns: int) -> np.ndarray | None:
        while self._next is not None and stamp_of(self._next) < stamp_ns:
            self._next = next(self._messages, None)
        if self._next is None or stamp_of(self._next) != stamp_ns:
            return None
        raw, self._next = self._next, next(self._messages, None)
        return _label_map(raw)


def _label_map(raw: bytes) -> np.ndarray | None:
    try:
        message = decode(raw, IMAGE)
    except InputError:
        return None
    dtype = LABEL_DTYPES.get(message.encoding)
    if dtype is None or message.data.size != message.height * message.width * np.dtype(dtype).itemsize:
        return None
    return message.data.view(dtype).reshape(message.height, message.width)
