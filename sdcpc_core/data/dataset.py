"""What every data set is: labelled videos, frame by frame in the order of time."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdcpc_core.data.files import UNLABELLED, BadFileError, MaskIds, read_image, read_mask
from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet

VIDEO_SPACING_S = 0.1
"""Frames further apart than this are no video: t-3 and t-6 would show another place."""
FREQUENCY_MASKS = 5000
"""Class frequencies are counted on so many masks at most, evenly spread: reading all of VSPW would take an hour."""


class LabelledFrame(NamedTuple):
    """One frame with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8 class ids, 255 unlabelled; nothing else in a frame without a mask.
        sequence: name of the video it comes from.
        stamp_ns: its time in that video (ns).
    """

    image: np.ndarray
    label_map: np.ndarray
    sequence: str
    stamp_ns: int


@dataclass(frozen=True)
class FrameRecord:
    """Where one frame lies and where it belongs in its video.

    Attributes:
        name: unique in the split; results are written under it.
        sequence: name of the video.
        stamp_ns: time in the video (ns).
        image_path: the picture.
        mask_path: its class ids; None for a frame that is there as a reference alone.
    """

    name: str
    sequence: str
    stamp_ns: int
    image_path: Path
    mask_path: Path | None


@dataclass(frozen=True)
class Layout:
    """What lies on disk of one split, found by the names of the files alone.

    Attributes:
        title: data set and split, for people.
        labels: classes of the label maps.
        mask_ids: values of the masks.
        records: sequence after sequence, each in the order of time.
        faults: files that are missing, or belong to nothing.
        terms: what results of these data may be used for, where that is limited.
        targets: indices of the frames that are to be labelled in a split without masks; None for all.
    """

    title: str
    labels: LabelSet
    mask_ids: MaskIds
    records: Sequence[FrameRecord]
    faults: Sequence[BadFileError] = field(default=())
    terms: str | None = None
    targets: Sequence[int] | None = None


class DataSet(Sequence[LabelledFrame]):
    """One split of a data set; frames are read when they are asked for.

    Attributes:
        title: data set and split, for people.
        labels: classes of the label maps.
        records: one per frame.
        labelled: indices of the frames with a mask, ascending.
        targets: indices of the frames a network has to answer, ascending: those with a mask; in a split without
            masks those that its benchmark asks for.
        terms: what results of these data may be used for, where that is limited.

    Args:
        layout: what lies on disk.
        needs_labels: refuse a split without any mask.

    Raises:
        InputError: a file is missing, or no frame is labelled.
    """

    def __init__(self, layout: Layout, *, needs_labels: bool = True) -> None:
        if layout.faults:
            more = f" ({len(layout.faults)} such; sdcpc data check lists them)" if layout.faults[1:] else ""
            raise InputError(f"{layout.faults[0]}{more}")
        self.title = layout.title
        self.labels = layout.labels
        self.terms = layout.terms
        self.records = layout.records
        self.labelled = [index for index, record in enumerate(self.records) if record.mask_path]
        self._mask_ids = layout.mask_ids
        everything = range(len(self.records)) if layout.targets is None else layout.targets
        self.targets: Sequence[int] = self.labelled or everything
        if needs_labels and not self.labelled:
            raise InputError(f"{self.title} holds no labelled frame; add masks or choose another split")
        self._sequence_start: list[int] = []
        self._in_video: list[bool] = []
        for _, group in groupby(self.records, key=lambda record: record.sequence):
            records = list(group)
            self._sequence_start += [len(self._sequence_start)] * len(records)
            self._in_video += [spacing_s(records) <= VIDEO_SPACING_S] * len(records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> LabelledFrame:
        record = self.records[index]
        image = read_image(record.image_path)
        return LabelledFrame(image, self._label_map(record, image.shape[:2]), record.sequence, record.stamp_ns)

    def _label_map(self, record: FrameRecord, size_hw: tuple[int, int]) -> np.ndarray:
        if record.mask_path is None:
            return np.full(size_hw, UNLABELLED, np.uint8)
        mask = read_mask(record.mask_path)
        check_size(record, mask.shape, size_hw)
        return self._mask_ids.label_map(mask, record.mask_path)

    def check_frames(self, indices: Iterable[int] | None = None) -> None:
        """Read frames once, so that a broken one is told before hours of work.

        Args:
            indices: which, ascending; all by default.

        Raises:
            InputError: a frame is broken, or not of the size of its sequence.
        """
        sizes_hw: dict[str, tuple[int, int]] = {}
        for index in range(len(self)) if indices is None else indices:
            record, size_hw = self.records[index], self[index].label_map.shape
            check_sequence(record, size_hw, sizes_hw.setdefault(record.sequence, size_hw))

    @property
    def is_video(self) -> bool:
        """Whether frames follow one another closely enough to be references."""
        return self.spacing_s() <= VIDEO_SPACING_S

    def spacing_s(self) -> float:
        """Median time between neighbouring frames of a sequence (s); infinite without neighbours."""
        return spacing_s(self.records)

    def references(self, index: int, offsets: Sequence[int]) -> list[int] | None:
        """Frames that a number of frames before one, the first of its sequence where that has no earlier ones.

        Args:
            index: of the target.
            offsets: how many frames before the target each reference lies.

        Returns:
            Their indices, or None where the sequence is no video.
        """
        if not self._in_video[index]:
            return None
        return [max(index - offset, self._sequence_start[index]) for offset in offsets]

    def around_targets(self, reach: int) -> list[int]:
        """Targets and the frames up to ``reach`` frames before one, in the same sequence; indices, ascending."""
        return [index for index in range(len(self)) if self._is_before_target(index, reach)]

    def _is_before_target(self, index: int, reach: int) -> bool:
        position = bisect_left(self.targets, index)
        if position == len(self.targets):
            return False
        target = self.targets[position]
        return target - index <= reach and self._sequence_start[target] == self._sequence_start[index]

    def class_frequencies(self) -> np.ndarray:
        """Share of each class among the labelled pixels of the split, (K,) float64, sum 1."""
        counts = np.zeros(self.labels.num_classes)
        for index in self.labelled[:: -(-len(self.labelled) // FREQUENCY_MASKS)]:
            path = self.records[index].mask_path
            label_map = self._mask_ids.label_map(read_mask(path), path)
            counts += np.bincount(label_map.ravel(), minlength=UNLABELLED + 1)[: len(counts)]
        return counts / max(counts.sum(), 1)


def check_size(record: FrameRecord, mask_hw: Sequence[int], image_hw: Sequence[int]) -> None:
    """Refuse a mask that is not of the size of its image.

    Raises:
        BadFileError: the sizes differ.
    """
    if tuple(mask_hw) != tuple(image_hw):
        raise BadFileError(
            f"{record.mask_path} is {mask_hw[1]}x{mask_hw[0]} but its image is {image_hw[1]}x{image_hw[0]}; "
            "both must have the same size",
            fault="masks of another size than their image",
            path=record.mask_path,
        )


def check_sequence(record: FrameRecord, size_hw: Sequence[int], first_hw: Sequence[int]) -> None:
    """Refuse a frame that is not of the size its sequence began with.

    Raises:
        BadFileError: the sizes differ.
    """
    if tuple(size_hw) != tuple(first_hw):
        height, width = first_hw
        raise BadFileError(
            f"{record.image_path} is {size_hw[1]}x{size_hw[0]} but its sequence began with {width}x{height}; "
            "all frames of a sequence must have the same size",
            fault="frames of another size than their sequence",
            path=record.image_path,
        )


def spacing_s(records: Sequence[FrameRecord]) -> float:
    """Median time between neighbouring frames of a sequence (s); infinite without neighbours."""
    spacing_ns = [
        later.stamp_ns - earlier.stamp_ns for earlier, later in pairwise(records) if earlier.sequence == later.sequence
    ]
    return float(np.median(spacing_ns)) / 1e9 if spacing_ns else float("inf")
