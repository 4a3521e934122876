"""How good and how steady the labels of a drive are, from its moments one after the other."""

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdcpc_core.labels import LabelSet
from sdcpc_ros.recording import Moment

WINDOWS = (8, 16)
HELD = (
    "A frame without an answer of its own counts, and is shown, with the newest answer to an earlier frame; before "
    "the first answer every pixel counts as wrong. mVC is over the windows in which every frame was answered."
)


@dataclass
class DriveCourse:
    """What happened frame by frame, a row or an entry for each.

    Attributes:
        bag_ns: times of recording (ns).
        answered: whether the frame has an answer of its own.
        class_shares: share of each class in the labels shown, 0..1, the K of a frame after those of the one before.
        changed: share of the pixels with another label than in the frame before, 0..1; NaN where not both of them
            were answered.
    """

    bag_ns: list[int] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)
    # One buffer: a small block for each frame would keep the C library from using the memory of images again.
    class_shares: "array[float]" = field(default_factory=lambda: array("f"))
    changed: list[float] = field(default_factory=list)


class DriveScores:
    """Takes the moments of a drive in their order; in memory stay sums and a few numbers for each frame.

    Args:
        labels: what the class ids mean.

    Attributes:
        course: what happened frame by frame.
        flicker: how often the label of each pixel changed, and between how many frames, (H, W) each; None before
            two answered frames of one size followed one another. A change of size starts it anew.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.course = DriveCourse()
        self.flicker: tuple[np.ndarray, int] | None = None
        self._labels = labels
        self._before_first_answer = 0
        self._previous: np.ndarray | None = None
        self._quality: _Quality | None = None

    def update(self, moment: Moment) -> None:
        """Take the next moment."""
        answered = moment.answer_age_ns == 0
        if moment.after_gap:
            self._previous = None
        self._before_first_answer += moment.answer_age_ns is None
        counts = np.bincount(moment.label_map.ravel(), minlength=self._labels.num_classes)[: self._labels.num_classes]
        self.course.bag_ns.append(moment.bag_ns)
        self.course.answered.append(answered)
        self.course.class_shares.extend(counts / moment.label_map.size)
        self.course.changed.append(self._update_flicker(moment.label_map) if answered else float("nan"))
        self._previous = moment.label_map if answered else None
        if moment.truth is not None and self._quality is None:
            self._quality = _Quality(self._labels)
        if self._quality is not None:
            self._quality.update(moment)

    def _update_flicker(self, label_map: np.ndarray) -> float:
        if self._previous is None or self._previous.shape != label_map.shape:
            return float("nan")
        changed = label_map != self._previous
        if self.flicker is None or self.flicker[0].shape != changed.shape:
            self.flicker = np.zeros(changed.shape, np.int32), 0
        self.flicker = self.flicker[0] + changed, self.flicker[1] + 1
        return float(changed.mean())

    def figures(self) -> dict[str, Any]:
        """Figures of the report as JSON values, in percent; None where nothing was measured.

        ``changed_pixels`` is the mean share of the pixels whose label changes between two answered frames. Beside
        each mVC stands the number of its windows, ``mVC8_windows`` and ``mVC16_windows``.
        """
        changed = np.array(self.course.changed)
        changed = changed[~np.isnan(changed)]
        figures: dict[str, Any] = {
            "frames_before_first_answer": self._before_first_answer,
            "changed_pixels": round(100 * float(changed.mean()), 3) if changed.size else None,
            "mIoU": None,
            "pixel_accuracy": None,
        }
        if self._quality is not None:
            figures |= self._quality.figures()
        return figures


class _Quality:
    """What needs the truth."""

    def __init__(self, labels: LabelSet) -> None:
        from sdcpc_core.metrics import ConfusionMatrix

        self._ignore_index = labels.ignore_index
        self._confusion = ConfusionMatrix(labels.num_classes, labels.ignore_index)
        self._window_sums = np.zeros((len(WINDOWS), 5))
        self._size_hw: tuple[int, ...] | None = None
        self._frames = 0

    def update(self, moment: Moment) -> None:
        from sdcpc_core.metrics.video_consistency import VideoConsistency

        if moment.truth is not None:
            self._confusion.update(moment.label_map, moment.truth)
            self._frames += 1
        if moment.truth is None or moment.answer_age_ns != 0:
            self._size_hw = None
            return
        if moment.after_gap or moment.truth.shape != self._size_hw:
            # After a gap no window reaches back.
            self._size_hw = moment.truth.shape
            self._video = VideoConsistency(WINDOWS, self._ignore_index)
        self._window_sums += self._video.update(moment.label_map, moment.truth)

    def figures(self) -> dict[str, Any]:
        from sdcpc_core.metrics.video_consistency import mVC, mVC_strict
        from sdcpc_core.report import rounded

        figures: dict[str, Any] = {
            "frames_with_truth": self._frames,
            **rounded({"mIoU": self._confusion.mIoU(), "pixel_accuracy": self._confusion.pixel_accuracy()}),
        }
        for window, sums in zip(WINDOWS, self._window_sums, strict=True):
            figures |= rounded({f"mVC{window}": mVC(sums), f"mVC{window}_strict": mVC_strict(sums)})
            figures[f"mVC{window}_windows"] = int(sums[0])
        return figures
