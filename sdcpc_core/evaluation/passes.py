"""One pass of a network over a split: its labels, and how good they are."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sdcpc_core.data.dataset import DataSet, LabelledFrame
from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import LabelSet
from sdcpc_core.metrics import Scorer, Scores
from sdcpc_core.streaming import Segmenter

NEIGHBOUR_SPACING_S = 1.05
"""Frames closer than this have neighbours at 1 s and 2 s."""
REFERENCE_SPACING_S = 2.0
"""A stream forgets its past in a longer silence: frames further apart are no references."""


class Answer(NamedTuple):
    """What the network said to one frame.

    Attributes:
        index: of the frame in its split.
        frame: with its ground truth.
        label_map: class ids, (H, W).
        step_ms: duration of the stream's step (ms).
    """

    index: int
    frame: LabelledFrame
    label_map: np.ndarray
    step_ms: float


@dataclass(frozen=True)
class FrameScore:
    """How well one frame was labelled.

    Attributes:
        index: of the frame in its split.
        sequence: name of its video.
        figures: as ``Scores.figures``, of this frame alone.
    """

    index: int
    sequence: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Pass:
    """What one pass over a split measured.

    Attributes:
        scores: figures of the split.
        sequence_scores: figures of each sequence, by its name.
        confusion: (K, K + 1), as ``ConfusionMatrix.counts``.
        frames: the labelled ones, in their order.
        step_ms: duration of the stream's step for each frame (ms).
        wall_s: duration of all of it: reading, labelling, writing and scoring (s).
        size_hw: height and width of the first frame (pixels).
    """

    scores: Scores
    sequence_scores: Mapping[str, Scores]
    confusion: np.ndarray
    frames: Sequence[FrameScore]
    step_ms: Sequence[float]
    wall_s: float
    size_hw: tuple[int, int]

    @property
    def frames_per_s(self) -> float:
        """Frames per second of the whole pass."""
        return len(self.step_ms) / self.wall_s


def plan(
    data: DataSet, num_references: int, wanted: Sequence[int] | None, default: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Which references a split is evaluated with.

    Args:
        data: the split.
        num_references: how many the model takes.
        wanted: frames before the target that were asked for; None for ``default`` in a video and for none in frames
            that lie further apart.
        default: frames before the target, in a video.

    Returns:
        Offsets of the references of each pass, by its name, the main one first: ``references``, ``self`` with each
        frame as its own reference and, of frames about a second apart, ``neighbours`` with those at 1 s, 2 s, ….

    Raises:
        ConfigError: references are wanted of frames that stand alone or lie too far apart.
    """
    if not num_references:
        return {"self": ()}
    spacing_s = data.spacing_s()
    if wanted and spacing_s > REFERENCE_SPACING_S:
        raise ConfigError(
            f"the frames of {data.title} stand alone or lie over {REFERENCE_SPACING_S:g} s apart, so that none is a "
            "reference of another; leave out --references"
        )
    if wanted or data.is_video:
        return {"references": tuple(wanted or default), "self": ()}
    if spacing_s > NEIGHBOUR_SPACING_S:
        return {"self": ()}
    return {"self": (), "neighbours": tuple(round(age_s / spacing_s) for age_s in range(1, num_references + 1))}


def label(
    segmenter: Segmenter, data: DataSet, indices: Iterable[int], *, reference_offsets: Sequence[int]
) -> Iterator[Answer]:
    """Label frames of a split, one stream per sequence.

    Args:
        segmenter: the network.
        data: the split.
        indices: ascending; for each target, those its references may be.
        reference_offsets: how many frames before the target its references lie; none for the frame itself.
    """
    sequence, stream = None, None
    for index in indices:
        frame = data[index]
        if frame.sequence != sequence:
            sequence, stream = frame.sequence, segmenter.stream(reference_offsets=reference_offsets)
        # A stream takes the stamp 0 for an unknown one, and some sequences start there.
        result = stream.step(frame.image, frame.stamp_ns + 1)
        yield Answer(index, frame, result.label_map, result.timings.total_ms)


def score(answers: Iterable[Answer], labels: LabelSet, *, is_video: bool, with_flow: bool = True) -> Pass:
    """Compare label maps with the ground truth of their frames, one by one.

    Args:
        answers: of a split, in order; at least one.
        labels: what the class ids mean.
        is_video: whether consecutive frames are labelled, so that consistency can be measured.
        with_flow: also measure TC, where that can be.
    """
    began_s = time.perf_counter()
    scorer = Scorer(labels.num_classes, labels.ignore_index, with_windows=is_video, with_flow=is_video and with_flow)
    frames: list[FrameScore] = []
    size_hw = None
    step_ms: list[float] = []
    for index, frame, label_map, duration_ms in answers:
        figures = scorer.update(frame.image, label_map, frame.label_map, frame.sequence)
        size_hw = size_hw or label_map.shape
        step_ms.append(duration_ms)
        if not math.isnan(figures["pixel_accuracy"]):
            frames.append(FrameScore(index, frame.sequence, figures))
    scores = scorer.scores()
    of_sequences = _by_sequence(scores, scorer.sequences)
    wall_s = time.perf_counter() - began_s
    return Pass(scores, of_sequences, scorer.confusion.counts, frames, step_ms, wall_s, size_hw)


def _by_sequence(scores: Scores, sequences: Sequence[str]) -> dict[str, Scores]:
    rows: dict[str, list[int]] = {}
    for row, sequence in enumerate(sequences):
        rows.setdefault(sequence, []).append(row)
    return {
        sequence: Scores({name: block[chosen] for name, block in scores.blocks.items()})
        for sequence, chosen in rows.items()
    }
