"""CamVid in SegNet's edition: ``root/{train,val,test}`` beside ``root/{train,val,test}annot``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.video import IMAGE_SUFFIXES

SPLITS = ("train", "val", "test")
VOID_ID = 11
"""Id of unlabelled pixels in the files; label maps carry ``CAMVID.ignore_index`` instead."""
NUMBERING_HZ = 30
"""File numbers count the frames of the original 30 Hz video."""


class LabelledFrame(NamedTuple):
    """One frame with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8 class ids, 255 unlabelled.
        sequence: name of the video it comes from.
        stamp_ns: its time in that video (ns).
    """

    image: np.ndarray
    label_map: np.ndarray
    sequence: str
    stamp_ns: int


@dataclass(frozen=True)
class CamVidRecord:
    """Where one labelled frame lies and where it belongs in its video."""

    sequence: str
    frame_number: int
    image_path: Path
    mask_path: Path

    @property
    def stamp_ns(self) -> int:
        """Time in the video (ns)."""
        return self.frame_number * 1_000_000_000 // NUMBERING_HZ

    def read(self) -> LabelledFrame:
        """Read image and mask.

        Raises:
            InputError: a file is unreadable, the sizes differ, or the mask holds an id outside 0..11.
        """
        image = cv2.imread(str(self.image_path), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{self.image_path} is not a readable image; copy or download it again")
        label_map = self.read_label_map()
        if label_map.shape != image.shape[:2]:
            height, width = image.shape[:2]
            raise InputError(
                f"{self.mask_path} is {label_map.shape[1]}x{label_map.shape[0]} but its image is {width}x{height}; "
                "both must have the same size"
            )
        return LabelledFrame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), label_map, self.sequence, self.stamp_ns)

    def read_label_map(self) -> np.ndarray:
        """Read the mask alone: (H, W) uint8 class ids, 255 unlabelled.

        Raises:
            InputError: the mask is unreadable or holds an id outside 0..11.
        """
        mask = cv2.imread(str(self.mask_path), cv2.IMREAD_UNCHANGED)
        if mask is None:
            raise InputError(f"{self.mask_path} is not a readable mask; copy or download it again")
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise InputError(f"{self.mask_path} is not a one-channel 8-bit PNG of class ids; use SegNet's edition")
        if mask.max(initial=0) > VOID_ID:
            raise InputError(f"{self.mask_path} holds id {mask.max()}; SegNet's edition of CamVid uses 0..{VOID_ID}")
        mask[mask == VOID_ID] = CAMVID.ignore_index
        return mask


class CamVid(Sequence[LabelledFrame]):
    """One split of CamVid, each sequence in the order of time; frames are read when they are asked for.

    Attributes:
        records: one per frame.

    Raises:
        ConfigError: no such split.
        InputError: a folder or a mask is missing, or a file is not named ``<sequence>_<frame number>``.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise ConfigError(f"CamVid has no split {split!r}; choose from {', '.join(SPLITS)}")
        image_dir, mask_dir = Path(root) / split, Path(root) / f"{split}annot"
        for folder in (image_dir, mask_dir):
            if not folder.is_dir():
                raise InputError(f"{folder} is not a folder; CamVid in SegNet's layout has {split}/ and {split}annot/")
        images = [path for path in image_dir.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise InputError(f"{image_dir} holds no .png or .jpg images")
        self.records = sorted(
            (_record(path, mask_dir) for path in images), key=lambda record: (record.sequence, record.frame_number)
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> LabelledFrame:
        return self.records[index].read()

    def check_frames(self) -> None:
        """Read every frame once, so that a broken one is told before hours of work.

        Raises:
            InputError: a frame is broken, or not of the size of its sequence.
        """
        for _, group in groupby(self.records, key=lambda record: record.sequence):
            sizes_hw = {record.image_path: record.read().label_map.shape for record in group}
            height, width = next(iter(sizes_hw.values()))
            for path, size_hw in sizes_hw.items():
                if size_hw != (height, width):
                    raise InputError(
                        f"{path} is {size_hw[1]}x{size_hw[0]} but its sequence began with {width}x{height}; "
                        "all frames of a sequence must have the same size"
                    )

    def spacing_s(self) -> float:
        """Median time between neighbouring frames of a sequence (s); infinite without neighbours."""
        spacing_ns = [
            later.stamp_ns - earlier.stamp_ns
            for earlier, later in pairwise(self.records)
            if earlier.sequence == later.sequence
        ]
        return float(np.median(spacing_ns)) / 1e9 if spacing_ns else float("inf")

    def class_frequencies(self) -> np.ndarray:
        """Share of each class among the labelled pixels of the split, (11,) float64, sum 1."""
        counts = np.zeros(CAMVID.num_classes)
        for record in self.records:
            counts += np.bincount(record.read_label_map().ravel(), minlength=256)[: CAMVID.num_classes]
        return counts / max(counts.sum(), 1)


def _record(image_path: Path, mask_dir: Path) -> CamVidRecord:
    # Both "0016E5_07959" and "0006R0_f02640" occur.
    name = re.fullmatch(r"(.+)_f?(\d+)", image_path.stem)
    if name is None:
        raise InputError(f"{image_path} is not named <sequence>_<frame number>, e.g. 0016E5_07959.png")
    mask_path = mask_dir / f"{image_path.stem}.png"
    if not mask_path.is_file():
        raise InputError(f"{image_path} has no mask {mask_path}; add the mask or remove the image")
    return CamVidRecord(name[1], int(name[2]), image_path, mask_path)
