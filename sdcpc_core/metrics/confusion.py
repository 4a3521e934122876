"""Confusion matrices, and the figures that need no more of them than tallies of each class."""

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from sdcpc_core.errors import InputError


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs over a whole split.

    Attributes:
        counts: (K, K + 1) int64, a row per true class, a column per predicted one; the last column holds what was
            given an id outside the classes.
    """

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)
        self._ignore_index = ignore_index

    def update(self, label_map: np.ndarray, truth: np.ndarray) -> None:
        """Count one frame or several.

        Args:
            label_map: predicted class ids; an id outside the classes counts as a miss.
            truth: class ids of the same shape.

        Raises:
            InputError: the shapes differ, or the truth holds an id outside the classes.
        """
        self.counts += confusion(label_map, truth, len(self.counts), self._ignore_index)

    def iou_per_class(self) -> np.ndarray:
        """Intersection over union of each class in percent, (K,); NaN for classes absent from the ground truth."""
        return iou_per_class(tallies(self.counts))

    def mIoU(self) -> float:
        """Mean IoU in percent over the classes present in the ground truth; NaN when nothing is labelled."""
        return float(mIoU(tallies(self.counts)))

    def mIoU_mmseg(self) -> float:
        """Mean IoU in percent, where a class that is predicted but absent from the ground truth counts as 0."""
        return float(mIoU_mmseg(tallies(self.counts)))

    def WIoU(self) -> float:
        """Mean IoU in percent, each class weighted by its share of the ground truth; NaN when nothing is labelled."""
        return float(WIoU(tallies(self.counts)))

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels with the right class, in percent; NaN when nothing is labelled."""
        return float(pixel_accuracy(tallies(self.counts)))


def confusion(label_map: np.ndarray, truth: np.ndarray, num_classes: int, ignore_index: int) -> np.ndarray:
    """Count the (truth, prediction) pairs of the labelled pixels.

    Args:
        label_map: predicted class ids, integers of any shape; an id outside the classes counts as a miss.
        truth: class ids of the same shape.
        num_classes: K.
        ignore_index: id of unlabelled pixels.

    Returns:
        (K, K + 1) int64, as ``ConfusionMatrix.counts``.

    Raises:
        InputError: the shapes differ, or the truth holds an id outside the classes.
    """
    if label_map.shape != truth.shape:
        raise InputError(f"prediction {label_map.shape} and ground truth {truth.shape} differ in shape")
    truth, label_map = truth.astype(np.int64), label_map.astype(np.int64)
    outside = (truth != ignore_index) & ((truth < 0) | (truth >= num_classes))
    if outside.any():
        raise InputError(f"ground truth holds class {truth[outside][0]}; the label set has 0..{num_classes - 1}")
    label_map[(label_map < 0) | (label_map >= num_classes)] = num_classes
    counts = multiclass_confusion_matrix(
        torch.from_numpy(label_map),
        torch.from_numpy(truth),
        num_classes + 1,
        ignore_index=ignore_index,
        validate_args=False,
    )
    return counts[:num_classes].numpy()


def tallies(counts: np.ndarray) -> np.ndarray:
    """Hits, pixels in the ground truth and pixels in the prediction of each class.

    Args:
        counts: (K, K + 1), as ``ConfusionMatrix.counts``.

    Returns:
        (3, K) int64.
    """
    return np.stack([np.diagonal(counts), counts.sum(axis=1), counts[:, :-1].sum(axis=0)])


def iou_per_class(tallies: np.ndarray) -> np.ndarray:
    """Intersection over union in percent: (..., 3, K) to (..., K); NaN for classes absent from the ground truth."""
    hits, truths, predictions = np.moveaxis(tallies, -2, 0)
    return np.where(truths > 0, 100 * hits / np.maximum(truths + predictions - hits, 1), np.nan)


def mIoU(tallies: np.ndarray) -> np.ndarray:
    """Mean IoU in percent over the classes present in the ground truth: (..., 3, K) to (...,); NaN without any.

    Source: the evaluator of VSPW.
    """
    return _share(np.nansum(iou_per_class(tallies), axis=-1), (tallies[..., 1, :] > 0).sum(axis=-1))


def mIoU_mmseg(tallies: np.ndarray) -> np.ndarray:
    """Mean IoU in percent over the classes in ground truth or prediction: (..., 3, K) to (...,); NaN without any.

    Source: mmsegmentation, and the macro average of torchmetrics.
    """
    seen = (tallies[..., 1, :] > 0) | (tallies[..., 2, :] > 0)
    return _share(np.nansum(iou_per_class(tallies), axis=-1), seen.sum(axis=-1))


def WIoU(tallies: np.ndarray) -> np.ndarray:
    """IoU in percent weighted by the share of the ground truth: (..., 3, K) to (...,); NaN when nothing is labelled."""
    truths = tallies[..., 1, :]
    return _share(np.nansum(truths * iou_per_class(tallies), axis=-1), truths.sum(axis=-1))


def pixel_accuracy(tallies: np.ndarray) -> np.ndarray:
    """Share of right pixels in percent: (..., 3, K) to (...,); NaN when nothing is labelled."""
    return _share(100 * tallies[..., 0, :].sum(axis=-1), tallies[..., 1, :].sum(axis=-1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
