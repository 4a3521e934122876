"""What SLAM stacks want beside labels: masks of what moves, and depth without it."""

import copy
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet
from sdcpc_ros.conversions import image_rows, stamp_to_ns

DEPTH_BYTES = {"16UC1": 2, "mono16": 2, "32FC1": 4}
"""Depth encodings with the bytes of a pixel. In all of them, and in either byte order, zeros mean "not known"."""
MAX_WAITING = 60
"""Depth images that wait for their mask, at most: two seconds of a usual camera."""


@dataclass(frozen=True)
class MaskConvention:
    """How a SLAM stack reads masks.

    Attributes:
        dynamic_is_white: whether pixels to ignore are 255 and the others 0, or the reverse.
        one_per_image: whether an image without a mask is lost to the stack.
    """

    dynamic_is_white: bool = True
    one_per_image: bool = False


PRESETS = {
    "": MaskConvention(),
    "cuvslam": MaskConvention(one_per_image=True),
    "nvblox": MaskConvention(),
    "openvins": MaskConvention(),
    "stella_vslam": MaskConvention(dynamic_is_white=False),
}
POLARITIES = {"": None, "dynamic_white": True, "dynamic_black": False}
FOR_SKIPPED = {"": None, "none": False, "last": True}


def mask_convention(preset: str, polarity: str = "", for_skipped: str = "") -> MaskConvention:
    """The convention of a stack, where nothing else is asked for.

    Args:
        preset: one of ``PRESETS``.
        polarity: one of ``POLARITIES``; empty: as the preset.
        for_skipped: one of ``FOR_SKIPPED``; empty: as the preset.
    """
    usual, white, last = PRESETS[preset], POLARITIES[polarity], FOR_SKIPPED[for_skipped]
    return MaskConvention(
        usual.dynamic_is_white if white is None else white, usual.one_per_image if last is None else last
    )


def mask_class_ids(labels: LabelSet, names: Sequence[str]) -> tuple[int, ...]:
    """Ids of the classes to be masked.

    Args:
        labels: of the model.
        names: of the classes; none or ``""``: the dynamic ones of the label set.

    Raises:
        ConfigError: a name is not of the label set.
    """
    names = [name for name in names if name]
    if unknown := [name for name in names if name not in labels.names]:
        raise ConfigError(f"mask_classes has {unknown}, but the classes are {', '.join(labels.names)}")
    return tuple(map(labels.names.index, names)) if names else labels.dynamic_ids


def dynamic_pixels(label_map: np.ndarray, class_ids: Sequence[int], *, dilation_px: int = 0) -> np.ndarray:
    """Where the masked classes are, and what is near them.

    Args:
        label_map: class ids, (H, W) uint8 or uint16.
        class_ids: of the classes to be masked.
        dilation_px: radius (pixels) by which the regions grow.

    Returns:
        (H, W) uint8: 255 on the masked classes, else 0.
    """
    value_of_id = np.zeros(np.iinfo(label_map.dtype).max + 1, np.uint8)
    value_of_id[list(class_ids)] = 255
    mask = value_of_id[label_map]
    if not dilation_px:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilation_px + 1,) * 2)
    return cv2.dilate(mask, disc)


def without_dynamic(depth: Any, dynamic: np.ndarray) -> Any:
    """A copy of a depth image whose masked pixels are 0: "not known".

    Everything else stays as it is: header, encoding, byte order, row padding.

    Args:
        depth: ``sensor_msgs/Image`` in one of ``DEPTH_BYTES``, of the camera's size or of its aspect (a registered
            depth image of fewer pixels).
        dynamic: (H, W) uint8, 255 on what is masked.

    Raises:
        InputError: not such an image.
    """
    item_bytes = DEPTH_BYTES.get(depth.encoding)
    if item_bytes is None:
        raise InputError(f"encoding {depth.encoding!r} is no depth image; supported are {', '.join(DEPTH_BYTES)}")
    height, width = dynamic.shape
    if not depth.height or depth.height * width != depth.width * height:
        raise InputError(
            f"depth of {depth.width}x{depth.height} pixels is not registered to an image of {width}x{height}; "
            "use the depth topic that is aligned to the colour camera"
        )
    if depth.height != height:
        dynamic = cv2.resize(dynamic, (depth.width, depth.height), interpolation=cv2.INTER_NEAREST_EXACT)
    data = copy.copy(depth.data)
    rows = image_rows(depth, row_bytes=depth.width * item_bytes, data=data)
    rows.reshape(depth.height, depth.width, item_bytes)[dynamic != 0] = 0
    return type(depth)(
        header=depth.header,
        height=depth.height,
        width=depth.width,
        encoding=depth.encoding,
        is_bigendian=depth.is_bigendian,
        step=depth.step,
        data=data,
    )


class DepthPairing:
    """Finds the depth image of a mask, whichever of the two comes first. For two threads.

    Args:
        tolerance_ns: largest difference of their stamps (ns); 0: they must be equal.
    """

    def __init__(self, tolerance_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._depths: deque[tuple[int, Any]] = deque(maxlen=MAX_WAITING)
        self._masks: deque[tuple[int, np.ndarray]] = deque(maxlen=MAX_WAITING)
        self._lock = threading.Lock()

    def add_depth(self, depth: Any) -> np.ndarray | None:
        """Take a depth image; gives its mask, or None and keeps the image."""
        return self._match(stamp_to_ns(depth.header.stamp), depth, self._depths, self._masks)

    def add_mask(self, stamp_ns: int, dynamic: np.ndarray) -> Any | None:
        """Take the mask of an image with a stamp (ns); gives its depth image, or None and keeps the mask."""
        return self._match(stamp_ns, dynamic, self._masks, self._depths)

    def clear(self) -> None:
        """Forget what waits: the time has jumped."""
        with self._lock:
            self._depths.clear()
            self._masks.clear()

    def _match(self, stamp_ns: int, item: Any, own: deque, others: deque) -> Any | None:
        with self._lock:
            nearest = min(others, key=lambda other: abs(other[0] - stamp_ns), default=None)
            if nearest is None or abs(nearest[0] - stamp_ns) > self._tolerance_ns:
                own.append((stamp_ns, item))
                return None
            # Masks come in the order of their images: what is older than a pair has none.
            for waiting in (own, others):
                kept = [entry for entry in waiting if entry[0] > max(stamp_ns, nearest[0])]
                waiting.clear()
                waiting.extend(kept)
            return nearest[1]
