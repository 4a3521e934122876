"""Temporal consistency TC: do the labels move as the image does?"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import cv2
import numpy as np

from sdcpc_core.errors import InputError
from sdcpc_core.metrics.confusion import confusion, tallies

NO_CLASS = -1
FLOW = f"DIS, preset medium, OpenCV {cv2.__version__}"
"""What ``dis_flow`` is; values by other flows or masks cannot be compared."""


class TemporalConsistency:
    """Compares the labels of neighbouring frames of one sequence, one frame after the other.

    Args:
        num_classes: K.
        flow: optical flow (H, W, 2) from the first of two images to the second.

    Source: ``tool/eval_tc.py`` of ETC (ECCV 2020), which MSAF's Table 1 follows; the occlusion mask is Lai et al.'s
    (ECCV 2018). Differences: OpenCV's DIS flow in place of FlowNet2; labels are taken from the nearest pixel, as
    VSPW's ``TC_cal.py`` does; the mean is over the classes present; pixels that leave the image count as occluded.
    """

    def __init__(self, num_classes: int, flow: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None) -> None:
        self._num_classes = num_classes
        self._flow = flow or dis_flow
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, image: np.ndarray, label_map: np.ndarray) -> np.ndarray:
        """Take the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            label_map: predicted class ids, (H, W).

        Returns:
            What to add to the sums of a split, (2, 3, K) int64: tallies of the labels at t + 1, warped back, against
            those at t; first of all pixels, then of those that are not occluded. Zeros for the first frame.
        """
        last, self._last = self._last, (image, label_map)
        if last is None:
            return np.zeros((2, 3, self._num_classes), np.int64)
        forward, backward = self._flow(last[0], image), self._flow(image, last[0])
        warped, inside = warp_back(label_map, forward)
        before = last[1].astype(np.int64)
        before[before >= self._num_classes] = NO_CLASS
        visible = inside & ~occluded(forward, backward)
        return np.stack(
            [
                tallies(confusion(warped, kept, self._num_classes, NO_CLASS))
                for kept in (before, np.where(visible, before, NO_CLASS))
            ]
        )


def dis_flow(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Optical flow between two images by Dense Inverse Search, as OpenCV's preset ``medium`` has it.

    Args:
        image: (H, W, 3) uint8 RGB.
        other: of the same shape.

    Returns:
        (H, W, 2) float32 pixels (dx, dy): where each pixel of ``image`` lies in ``other``.

    Raises:
        InputError: the sizes differ.
    """
    if image.shape != other.shape:
        raise InputError(f"flow from an image {image.shape} to one {other.shape}; both must have the same size")
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (image, other)), None)


def warp_back(label_map: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fetch for every pixel the label it has in the other frame, from the nearest pixel.

    Args:
        label_map: class ids of the other frame, (H, W).
        flow: (H, W, 2) pixels (dx, dy) into the other frame; NaN where unknown.

    Returns:
        The labels, (H, W), at the border of the image for pixels that leave it; and which stay inside, (H, W) bool.
    """
    height, width = label_map.shape
    known = np.isfinite(flow).all(axis=-1)
    flow = np.where(known[..., None], flow, 0)
    columns = np.rint(np.arange(width) + flow[..., 0]).astype(np.int64)
    rows = np.rint(np.arange(height)[:, None] + flow[..., 1]).astype(np.int64)
    inside = known & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return label_map[rows.clip(0, height - 1), columns.clip(0, width - 1)], inside


def occluded(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Where there is no telling what a pixel becomes: hidden in the other frame, or at the boundary of a motion.

    Args:
        forward: flow into the other frame, (H, W, 2) pixels.
        backward: flow of the other frame into this one, (H, W, 2) pixels.

    Returns:
        (H, W) bool.

    Source: Lai et al., Learning Blind Video Temporal Consistency (ECCV 2018), after Ruder et al. (GCPR 2016).
    """
    height, width = forward.shape[:2]
    grid = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at = np.float32(forward) + np.stack(grid, axis=-1)
    backward = cv2.remap(np.float32(backward), at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    size = _squared(forward)
    hidden = _squared(forward + backward) > 0.01 * (size + _squared(backward)) + 0.5
    slope = np.zeros_like(size)
    slope[:, :-1] += _squared(np.diff(forward, axis=1))
    slope[:-1] += _squared(np.diff(forward, axis=0))
    return hidden | (slope > 0.01 * size + 0.002)


def flicker_map(label_maps: Iterable[np.ndarray]) -> np.ndarray:
    """Share of the steps from one frame to the next that changed the label of a pixel.

    Args:
        label_maps: class ids of a sequence, each (H, W), in the order of time; at least two.

    Returns:
        (H, W) float32 from 0 (steady) to 1 (another label in every frame).

    Raises:
        InputError: fewer than two frames.
    """
    changes, steps = 0, 0
    for before, after in pairwise(label_maps):
        changes, steps = changes + (before != after).astype(np.int32), steps + 1
    if not steps:
        raise InputError("flicker needs at least two label maps")
    return np.float32(changes / steps)


def _squared(vectors: np.ndarray) -> np.ndarray:
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2
