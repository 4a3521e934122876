"""Segmentation metrics on label maps, in percent; unlabelled pixels never count."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdcpc_core.errors import InputError


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs over a whole split.

    Attributes:
        counts: (K, K) int64, a row per true class, a column per predicted one.
    """

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self._missed = np.zeros(num_classes, np.int64)
        self._ignore_index = ignore_index

    def update(self, label_map: np.ndarray, truth: np.ndarray) -> None:
        """Count one frame or several.

        Args:
            label_map: predicted class ids; an id outside the classes counts as a miss.
            truth: class ids of the same shape.

        Raises:
            InputError: the shapes differ, or the truth holds an id outside the classes.
        """
        if label_map.shape != truth.shape:
            raise InputError(f"prediction {label_map.shape} and ground truth {truth.shape} differ in shape")
        num_classes = len(self.counts)
        labelled = truth != self._ignore_index
        truth, label_map = truth[labelled].astype(np.int64), label_map[labelled].astype(np.int64)
        if truth.size and not 0 <= truth.min() <= truth.max() < num_classes:
            raise InputError(f"ground truth holds class {truth.max()}; the label set has 0..{num_classes - 1}")
        known = (label_map >= 0) & (label_map < num_classes)
        self._missed += np.bincount(truth[~known], minlength=num_classes)
        pairs = truth[known] * num_classes + label_map[known]
        self.counts += np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)

    def iou_per_class(self) -> np.ndarray:
        """Intersection over union of each class in percent, (K,); NaN for classes absent from the ground truth."""
        hits, truths = np.diag(self.counts), self._truths()
        union = truths + self.counts.sum(axis=0) - hits
        return np.where(truths > 0, 100.0 * hits / np.maximum(union, 1), np.nan)

    def mIoU(self) -> float:
        """Mean IoU in percent over the classes present in the ground truth; NaN when nothing is labelled."""
        iou = self.iou_per_class()
        return float(iou[~np.isnan(iou)].mean()) if self._truths().any() else float("nan")

    def WIoU(self) -> float:
        """Mean IoU in percent, each class weighted by its share of the ground truth; NaN when nothing is labelled."""
        truths = self._truths()
        return float(np.nansum(truths * self.iou_per_class()) / truths.sum()) if truths.any() else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels with the right class, in percent; NaN when nothing is labelled."""
        total = self._truths().sum()
        return float(100.0 * np.trace(self.counts) / total) if total else float("nan")

    def _truths(self) -> np.ndarray:
        return self.counts.sum(axis=1) + self._missed


@dataclass(frozen=True)
class VideoConsistency:
    """How steady the labels of a video are, in percent; NaN without a single window.

    Attributes:
        exact: of the pixels whose truth keeps its class through the window, the share whose prediction does.
        strict: the share whose prediction is that class in every frame.
        windows: how many windows were averaged.
    """

    exact: float
    strict: float
    windows: int


def video_consistency(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], window: int, ignore_index: int
) -> VideoConsistency:
    """Mean video consistency mVC_n over all windows of n consecutive frames of all clips.

    Args:
        clips: (predictions, truths) of each clip, both (T, H, W) class ids in the order of time.
        window: number of frames n, >= 2.
        ignore_index: id of unlabelled pixels; a pixel unlabelled in any frame of a window is left out of it.

    Source: Miao et al., VSPW (CVPR 2021), Sec. 4. Differences: all T - n + 1 windows, unlabelled pixels left out.
    """
    exact, strict = [], []
    for predictions, truths in clips:
        for start in range(len(truths) - window + 1):
            truth, prediction = truths[start : start + window], predictions[start : start + window]
            steady = (truth == truth[0]).all(axis=0) & (truth[0] != ignore_index)
            if not steady.any():
                continue
            steady_prediction = (prediction == prediction[0]).all(axis=0)[steady]
            exact.append(steady_prediction.mean())
            strict.append((steady_prediction & (prediction[0] == truth[0])[steady]).mean())
    if not exact:
        return VideoConsistency(float("nan"), float("nan"), 0)
    return VideoConsistency(float(100 * np.mean(exact)), float(100 * np.mean(strict)), len(exact))


def mean_consistency(parts: Sequence[VideoConsistency]) -> VideoConsistency:
    """Consistency of several sets of clips, each measured alone, as if they had been measured together."""
    parts = [part for part in parts if part.windows]
    if not parts:
        return VideoConsistency(float("nan"), float("nan"), 0)
    windows = [part.windows for part in parts]
    exact = np.average([part.exact for part in parts], weights=windows)
    strict = np.average([part.strict for part in parts], weights=windows)
    return VideoConsistency(float(exact), float(strict), sum(windows))
