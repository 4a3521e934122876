"""What a recording of a live run shows: each frame with the newest answer there was for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet
from sdcpc_ros.bag_io import IMAGE, BagReader, decode, decode_frame, stamp_of


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
        truth_topic: true labels with the stamps of their frames; may be absent.

    Raises:
        InputError: the bag cannot be read.
    """
    with BagReader(path) as frames, BagReader(path) as answers, BagReader(path) as truths:
        answer_of, truth_of = _ByStamp(answers, label_topic), _ByStamp(truths, truth_topic)
        held, held_ns = None, 0
        for connection, bag_ns, raw in frames.messages(topic):
            stamp_ns = stamp_of(raw)
            answer, truth = answer_of.take(stamp_ns), truth_of.take(stamp_ns)
            try:
                _, frame = decode_frame(raw, connection.msgtype)
            except InputError:
                continue
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
        self._messages = reader.messages(topic)
        self._next = next(self._messages, None)

    def take(self, stamp_ns: int) -> np.ndarray | None:
        if self._next is None or stamp_of(self._next[2]) != stamp_ns:
            return None
        (_, _, raw), self._next = self._next, next(self._messages, None)
        message = decode(raw, IMAGE)
        wide = message.data.view("<u2") if message.encoding == "mono16" else message.data
        return wide.reshape(message.height, message.width)
