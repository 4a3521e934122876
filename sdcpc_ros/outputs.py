"""The result topics of one camera."""

from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image

from sdcpc_core.labels import LabelSet
from sdcpc_core.streaming import StepResult
from sdcpc_core.visualization import overlay
from sdcpc_ros.conversions import array_to_image


class SegmentationOutputs:
    """Publishers of label, colour, overlay and confidence images.

    Reliable, because a reliable publisher serves best-effort subscribers as well; depth 1, because an old
    result is of no use.

    Args:
        node: owner of the publishers; active and inactive with it.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self.label = self._publisher("label")
        self.color = self._publisher("color")
        self.overlay = self._publisher("overlay")
        self.confidence = self._publisher("confidence")

    @property
    def wanted(self) -> bool:
        """Whether anyone subscribes to any output."""
        return any(map(is_wanted, (self.label, self.color, self.overlay, self.confidence)))

    def publish(self, header: Any, frame: np.ndarray, result: StepResult, labels: LabelSet, alpha: float) -> None:
        """Publish what is subscribed to, labels first.

        Args:
            header: ``std_msgs/Header`` of the source image, which every output carries unchanged.
            frame: the source image, (H, W, 3) uint8 RGB.
            result: its segmentation, at the size of the frame.
            labels: what the class ids mean.
            alpha: share of the class colours in the overlay, 0..1.
        """
        if is_wanted(self.label):
            self.label.publish(array_to_image(result.label_map, header))
        if result.confidence is not None:
            self.confidence.publish(array_to_image(result.confidence, header))
        if is_wanted(self.color):
            self.color.publish(array_to_image(labels.colorize(result.label_map), header))
        if is_wanted(self.overlay):
            self.overlay.publish(array_to_image(overlay(frame, result.label_map, labels, alpha), header))

    def destroy(self) -> None:
        """Take the topics off the graph."""
        for publisher in (self.label, self.color, self.overlay, self.confidence):
            self._node.destroy_lifecycle_publisher(publisher)

    def _publisher(self, name: str) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(
            Image,
            f"segmentation/{name}",
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


def is_wanted(publisher: LifecyclePublisher) -> bool:
    """Whether anyone subscribes."""
    return publisher.get_subscription_count() > 0
