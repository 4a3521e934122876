"""The result topics of one camera."""

from typing import Any

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sdcpc_core.labels import LabelSet
from sdcpc_core.streaming import StepResult
from sdcpc_core.visualization import overlay
from sdcpc_ros.compressed import array_to_png
from sdcpc_ros.conversions import array_to_image
from sdcpc_ros.label_info import LabelInfoOutput

PER_IMAGE_DEPTH = 10
"""Queue of the topics that a stack may want once per image: those of images that went unanswered come together."""


class SegmentationOutputs:
    """Publishers of everything that is made of an image.

    Reliable, because a reliable publisher serves best-effort subscribers as well; depth 1, because an old
    result is of no use.

    Args:
        node: owner of the publishers; active and inactive with it.
        labels: what the class ids mean.
        camera: name of the camera, which precedes the topics; may be empty.
        with_depth: whether there is an edited depth image.
    """

    def __init__(self, node: LifecycleNode, labels: LabelSet, camera: str = "", *, with_depth: bool = False) -> None:
        self._node = node
        self._labels = labels
        self._prefix = topic_of(camera, "segmentation")
        self._label = self._publisher(Image, "label")
        self._label_png = self._publisher(CompressedImage, "label/compressed")
        self._color = self._publisher(Image, "color")
        self._overlay = self._publisher(Image, "overlay")
        self._confidence = self._publisher(Image, "confidence")
        self._mask = self._publisher(Image, "mask", PER_IMAGE_DEPTH)
        self._camera_info = self._publisher(CameraInfo, "camera_info", PER_IMAGE_DEPTH)
        self._depth = self._publisher(Image, "depth", PER_IMAGE_DEPTH) if with_depth else None
        self._label_info = LabelInfoOutput(node, self._prefix, labels)

    @property
    def wanted(self) -> bool:
        """Whether anyone subscribes to anything that the network has to run for."""
        pictures = (self._label, self._label_png, self._color, self._overlay, self._confidence)
        return self.mask_wanted or any(map(_is_wanted, pictures))

    @property
    def confidence_wanted(self) -> bool:
        """Whether anyone subscribes to the confidence."""
        return _is_wanted(self._confidence)

    @property
    def mask_wanted(self) -> bool:
        """Whether anyone subscribes to the mask, or to the depth that it edits."""
        return _is_wanted(self._mask) or self.depth_wanted

    @property
    def depth_wanted(self) -> bool:
        """Whether anyone subscribes to the edited depth."""
        return self._depth is not None and _is_wanted(self._depth)

    @property
    def camera_info_wanted(self) -> bool:
        """Whether anyone subscribes to the calibration."""
        return _is_wanted(self._camera_info)

    def publish(self, header: Any, frame: np.ndarray, result: StepResult, alpha: float) -> None:
        """Publish what is subscribed to of labels and pictures, labels first.

        Args:
            header: ``std_msgs/Header`` of the source image, which every output carries unchanged.
            frame: the source image, (H, W, 3) uint8 RGB.
            result: its segmentation, at the size of the frame.
            alpha: share of the class colours in the overlay, 0..1.
        """
        if _is_wanted(self._label):
            self._label.publish(array_to_image(result.label_map, header))
        if _is_wanted(self._label_png):
            self._label_png.publish(array_to_png(result.label_map, header, CompressedImage))
        if result.confidence is not None and self.confidence_wanted:
            self._confidence.publish(array_to_image(result.confidence, header))
        if _is_wanted(self._color):
            self._color.publish(array_to_image(self._labels.colorize(result.label_map), header))
        if _is_wanted(self._overlay):
            self._overlay.publish(array_to_image(overlay(frame, result.label_map, self._labels, alpha), header))

    def publish_mask(self, header: Any, dynamic: np.ndarray, *, dynamic_is_white: bool) -> None:
        """Publish the mask of an image if it is subscribed to.

        Args:
            header: of the image.
            dynamic: (H, W) uint8, 255 on what is to be ignored.
            dynamic_is_white: false: 0 means ignore.
        """
        if _is_wanted(self._mask):
            self._mask.publish(array_to_image(dynamic if dynamic_is_white else cv2.bitwise_not(dynamic), header))

    def publish_camera_info(self, info: CameraInfo) -> None:
        """Publish the calibration that belongs to a mask or label."""
        self._camera_info.publish(info)

    def publish_depth(self, depth: Image) -> None:
        """Publish an edited depth image."""
        self._depth.publish(depth)

    def announce(self) -> None:
        """Tell what the class ids mean; the node must be active."""
        self._label_info.publish()

    def destroy(self) -> None:
        """Take the topics off the graph."""
        self._label_info.destroy()
        for publisher in vars(self).values():
            if isinstance(publisher, LifecyclePublisher):
                self._node.destroy_lifecycle_publisher(publisher)

    def _publisher(self, message_class: type, name: str, depth: int = 1) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(
            message_class,
            f"{self._prefix}/{name}",
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


def topic_of(camera: str, name: str) -> str:
    """A topic of a camera, whose name may be empty."""
    return f"{camera}/{name}" if camera else name


def _is_wanted(publisher: LifecyclePublisher) -> bool:
    return publisher.get_subscription_count() > 0
