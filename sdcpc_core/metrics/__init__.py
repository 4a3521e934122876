"""The figures of video segmentation, in percent; unlabelled pixels never count unless a figure's name says so.

Every figure is made of sums over frames, so that a split is measured frame by frame and resampled by blocks.
"""

from sdcpc_core.metrics.confusion import ConfusionMatrix
from sdcpc_core.metrics.scores import Scorer, Scores

__all__ = ["ConfusionMatrix", "Scorer", "Scores"]
