"""What one camera gives to SLAM stacks: masks, the calibration that belongs to them, and edited depth."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet
from sdcpc_ros.conversions import NS_PER_S, stamp_to_ns
from sdcpc_ros.outputs import SegmentationOutputs
from sdcpc_ros.parameters import NodeParameters
from sdcpc_ros.slam_outputs import (
    DepthPairing,
    MaskConvention,
    dynamic_pixels,
    mask_class_ids,
    mask_convention,
    without_dynamic,
)


class MaskFeed:
    """Publishes mask, calibration and depth of every image that is answered and, where asked for, of the others.

    Args:
        outputs: publishers of the camera.
        labels: what class ids mean.
        settings: of the node, checked.
        camera_info: gives the calibration for a header and a size (height, width), or None.
        complain: takes what is wrong with a depth image.
    """

    def __init__(
        self,
        outputs: SegmentationOutputs,
        labels: LabelSet,
        settings: NodeParameters,
        *,
        camera_info: Callable[[Any, tuple[int, int]], CameraInfo | None],
        complain: Callable[[str], None],
    ) -> None:
        self._outputs = outputs
        self._labels = labels
        self._camera_info = camera_info
        self._complain = complain
        self._pairing = DepthPairing(round(settings.depth_tolerance_ms * 1e6))
        self._last_mask: tuple[int, np.ndarray] | None = None
        self.apply(settings)

    def apply(self, settings: NodeParameters) -> None:
        """Take over changed parameters."""
        self._class_ids = mask_class_ids(self._labels, settings.mask_classes)
        self._convention = convention_of(settings)
        self._dilation_px = settings.mask_dilation_px
        self._max_age_ns = settings.max_gap_s * NS_PER_S

    @property
    def wants_skipped(self) -> bool:
        """Whether images that go unanswered get a mask as well."""
        return self._convention.one_per_image and self._outputs.mask_wanted

    def answer(self, header: Any, label_map: np.ndarray) -> None:
        """Publish what belongs to a segmented image.

        Args:
            header: of the image.
            label_map: its class ids, (H, W).
        """
        self._publish_camera_info(header, label_map.shape)
        if self._outputs.mask_wanted:
            dynamic = dynamic_pixels(label_map, self._class_ids, dilation_px=self._dilation_px)
            self._last_mask = stamp_to_ns(header.stamp), dynamic
            self._publish_mask(header, dynamic)

    def skip(self, headers: Iterable[Any]) -> None:
        """Give images that go unanswered the last mask, unless it is too old for them."""
        for header in headers:
            if self._last_mask is None or not self.wants_skipped:
                return
            stamp_ns, dynamic = self._last_mask
            if 0 <= stamp_to_ns(header.stamp) - stamp_ns <= self._max_age_ns:
                self._publish_camera_info(header, dynamic.shape)
                self._publish_mask(header, dynamic)

    def on_depth(self, depth: Image) -> None:
        """Take a depth image, in whatever thread."""
        if self._outputs.depth_wanted and (dynamic := self._pairing.add_depth(depth)) is not None:
            self._publish_depth(depth, dynamic)

    def clear(self) -> None:
        """Forget the last mask and what waits."""
        self._last_mask = None
        self._pairing.clear()

    def _publish_mask(self, header: Any, dynamic: np.ndarray) -> None:
        self._outputs.publish_mask(header, dynamic, dynamic_is_white=self._convention.dynamic_is_white)
        if self._outputs.depth_wanted and (depth := self._pairing.add_mask(stamp_to_ns(header.stamp), dynamic)):
            self._publish_depth(depth, dynamic)

    def _publish_depth(self, depth: Image, dynamic: np.ndarray) -> None:
        try:
            self._outputs.publish_depth(without_dynamic(depth, dynamic))
        except InputError as err:
            self._complain(str(err))

    def _publish_camera_info(self, header: Any, size_hw: tuple[int, int]) -> None:
        if self._outputs.camera_info_wanted and (info := self._camera_info(header, size_hw)):
            self._outputs.publish_camera_info(info)


def convention_of(settings: NodeParameters) -> MaskConvention:
    """How masks are to be made, as the parameters say."""
    return mask_convention(settings.mask_preset, settings.mask_polarity, settings.mask_for_skipped)
