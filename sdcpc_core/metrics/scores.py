"""All figures of a split, from sums over its frames that are kept by blocks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdcpc_core.metrics import confusion
from sdcpc_core.metrics.confusion import ConfusionMatrix, tallies
from sdcpc_core.metrics.temporal_consistency import TemporalConsistency
from sdcpc_core.metrics.video_consistency import VideoConsistency, mVC, mVC_strict, mVC_vspw_script

WINDOWS = (8, 16)
BLOCK_FRAMES = 16
"""Labelled frames of a block: neighbouring frames are too alike to be resampled one by one."""


class Scorer:
    """Takes the frames of a split one by one, each sequence in the order of time.

    Args:
        num_classes: K.
        ignore_index: id of unlabelled pixels.
        with_windows: also measure mVC, which needs neighbouring frames that are labelled.
        with_flow: also measure TC, which needs neighbouring frames, and optical flow between them.

    Attributes:
        confusion: all frames so far.
        sequences: name of the sequence of each block so far.
    """

    def __init__(self, num_classes: int, ignore_index: int, *, with_windows: bool, with_flow: bool) -> None:
        self.confusion = ConfusionMatrix(num_classes, ignore_index)
        self.sequences: list[str] = []
        self._num_classes, self._ignore_index = num_classes, ignore_index
        self._with_windows, self._with_flow = with_windows, with_flow
        self._sequence: str | None = None
        self._labelled_in_block = 0
        self._blocks: list[dict[str, np.ndarray]] = []

    def update(self, image: np.ndarray, label_map: np.ndarray, truth: np.ndarray, sequence: str) -> dict[str, float]:
        """Measure a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            label_map: predicted class ids, (H, W).
            truth: class ids, (H, W); all unlabelled for a frame without ground truth.
            sequence: name of the video it comes from.

        Returns:
            Its own figures, as ``Scores.figures``: of mVC that of the window it ends, of TC the step to it.

        Raises:
            InputError: the sizes differ, or the truth holds an id outside the classes.
        """
        is_first = sequence != self._sequence
        if is_first:
            self._sequence = sequence
            self._video = VideoConsistency(WINDOWS, self._ignore_index)
            self._temporal = TemporalConsistency(self._num_classes)
        counts = confusion.confusion(label_map, truth, self._num_classes, self._ignore_index)
        self.confusion.counts += counts
        sums = {"labels": tallies(counts)}
        if self._with_windows:
            sums["windows"] = self._video.update(label_map, truth)
        if self._with_flow:
            sums["warped"] = self._temporal.update(image, label_map)
        # Frames without ground truth open no block: passes with and without them stay comparable.
        is_labelled = bool(sums["labels"][1].any())
        if is_first or (is_labelled and self._labelled_in_block == BLOCK_FRAMES):
            self._blocks.append({name: of_frame.copy() for name, of_frame in sums.items()})
            self.sequences.append(sequence)
            self._labelled_in_block = 0
        else:
            for name, block in self._blocks[-1].items():
                block += sums[name]
        self._labelled_in_block += is_labelled
        return {key: float(value) for key, value in figures(sums).items()}

    def scores(self) -> "Scores":
        """What the frames so far came to."""
        names = self._blocks[0] if self._blocks else ()
        return Scores({name: np.stack([block[name] for block in self._blocks]) for name in names})


@dataclass(frozen=True)
class Scores:
    """What one pass over a split measured.

    Attributes:
        blocks: sums over B blocks of up to ``BLOCK_FRAMES`` labelled frames of one sequence: ``labels`` (B, 3, K), the
            tallies of the labels; of a video ``windows`` (B, 2, 5), see ``VideoConsistency.update``, and, where
            measured, ``warped`` (B, 2, 3, K), see ``TemporalConsistency.update``.
    """

    blocks: Mapping[str, np.ndarray]

    def figures(self) -> dict[str, float]:
        """All figures under the keys of reports, in percent; NaN where nothing was measured."""
        return {key: float(value) for key, value in figures(self.sums()).items()}

    def iou_per_class(self) -> np.ndarray:
        """Intersection over union of each class in percent, (K,); NaN for classes absent from the ground truth."""
        return confusion.iou_per_class(self.sums()["labels"])

    def compared(self) -> float:
        """Share of the pixels that TC compares outside occlusions, in percent; NaN without TC."""
        if "warped" not in self.blocks:
            return float("nan")
        everywhere, visible = self.sums()["warped"][:, 1].sum(axis=-1)
        return float(100 * visible / everywhere) if everywhere else float("nan")

    def sums(self) -> dict[str, np.ndarray]:
        """Sums over all blocks."""
        return {name: block.sum(axis=0) for name, block in self.blocks.items()}


def figures(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All figures under the keys of reports, in percent; NaN where nothing was measured.

    ``mIoU``, ``WIoU``, ``mVC8``, … are as published and defined; beside them stand ``mIoU_mmseg``, which counts
    classes that are predicted but absent, ``…_strict``, ``…_vspw_script``, and ``mVC16_dvis_script``, whose counter
    still holds the windows of mVC8, as in the scripts of DVIS++, VidEoMT and PMT. ``TC`` has no mask,
    ``TC_unoccluded`` the occlusion mask.

    Args:
        sums: as ``Scores.blocks``, with any leading shape (...) in place of (B,).

    Returns:
        Each (...,) float64.
    """
    labels = sums["labels"]
    result = {
        "mIoU": confusion.mIoU(labels),
        "mIoU_mmseg": confusion.mIoU_mmseg(labels),
        "WIoU": confusion.WIoU(labels),
        "pixel_accuracy": confusion.pixel_accuracy(labels),
    }
    if "windows" in sums:
        windows = sums["windows"]
        for ending, measure in (("", mVC), ("_strict", mVC_strict), ("_vspw_script", mVC_vspw_script)):
            result |= {f"mVC{n}{ending}": measure(windows[..., i, :]) for i, n in enumerate(WINDOWS)}
        result["mVC16_dvis_script"] = mVC_vspw_script(windows.sum(axis=-2))
    if "warped" in sums:
        everywhere, visible = np.moveaxis(sums["warped"], -3, 0)
        result |= {"TC": confusion.mIoU(everywhere), "TC_unoccluded": confusion.mIoU(visible)}
    return result
