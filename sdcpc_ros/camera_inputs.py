"""What the node subscribes to of one camera."""

from collections.abc import Callable
from copy import copy
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sdcpc_ros.mask_feed import convention_of
from sdcpc_ros.outputs import topic_of
from sdcpc_ros.parameters import NodeParameters

QUEUE = 10
"""For messages that are wanted one by one, so that none may be lost while a callback runs."""


class CameraInputs:
    """Subscriptions to a camera's image, to its calibration and, where that is asked for, to its depth.

    Args:
        node: owner of the subscriptions.
        camera: name of the camera, which precedes the topics; may be empty.
        settings: of the node.
        on_image: takes every ``Image`` or ``CompressedImage``.
        on_depth: takes every depth ``Image``.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        settings: NodeParameters,
        on_image: Callable[[Any], None],
        on_depth: Callable[[Image], None],
    ) -> None:
        self._node = node
        self._on_image = on_image
        self._camera_info: CameraInfo | None = None
        # As image_transport does: remapping the image moves what belongs to it as well.
        image = node.resolve_topic_name(topic_of(camera, "image"))
        compressed = settings.image_transport == "compressed"
        self._one_by_one = convention_of(settings).one_per_image
        self._image = self._subscribe_image(
            CompressedImage if compressed else Image, f"{image}/compressed" if compressed else image
        )
        info = topic_of(camera, "camera_info")
        if node.resolve_topic_name(info) == node.resolve_topic_name(info, only_expand=True):
            info = image.rpartition("/")[0] + "/camera_info"
        self._subscriptions = [self._subscribe(CameraInfo, info, self._on_camera_info)]
        if settings.edit_depth:
            self._subscriptions.append(self._subscribe(Image, topic_of(camera, "depth"), on_depth, QUEUE))

    def apply(self, settings: NodeParameters) -> None:
        """Take over changed parameters; where images are wanted one by one, or no more, it subscribes anew."""
        if self._one_by_one != convention_of(settings).one_per_image:
            self._one_by_one = not self._one_by_one
            old, topic = self._image, self.image_topic
            self._node.destroy_subscription(old)
            self._image = self._subscribe_image(old.msg_type, topic)

    @property
    def image_topic(self) -> str:
        """Full name of the topic of the images."""
        return self._image.topic_name

    def camera_info(self, header: Any, size_hw: tuple[int, int]) -> CameraInfo | None:
        """The calibration of an image.

        Args:
            header: of the image; the calibration gets it.
            size_hw: of the image (pixels).

        Returns:
            A message of its own; None where none has come, or only those of another size.
        """
        info = self._camera_info
        if info is None or (info.height, info.width) != size_hw:
            return None
        stamped = copy(info)
        stamped.header = header
        return stamped

    def describe_silence(self, *, heard_before: bool) -> str:
        """What is seen of the image topic on which nothing comes, and what to do about it."""
        topic = self.image_topic
        types = sorted({publisher.topic_type for publisher in self._node.get_publishers_info_by_topic(topic)})
        seen = f"it has publishers of {', '.join(types)}" if types else "nobody publishes it"
        if types and types != [self._wanted_type]:
            advice = self._advice_on_type(types)
        elif heard_before:
            advice = "images came before: has the camera stopped?"
        elif types:
            advice = "look at the QoS of the publisher and the transport of large messages (docs/ros.md)"
        else:
            advice = "has the camera started? 'image' is to be remapped to its topic"
        return f"{seen}; {advice}"

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in (self._image, *self._subscriptions):
            self._node.destroy_subscription(subscription)

    @property
    def _wanted_type(self) -> str:
        return f"sensor_msgs/msg/{self._image.msg_type.__name__}"

    def _advice_on_type(self, types: list[str]) -> str:
        if "sensor_msgs/msg/CompressedImage" in types:
            return "set image_transport to 'compressed' and remap 'image' to the name without /compressed"
        return f"the node takes {self._wanted_type}: look for the camera's topic of that type"

    def _subscribe_image(self, message_class: type, topic: str) -> Subscription:
        # Its depth is no parameter: rclpy would go on with that of the first subscription.
        policies = QoSPolicyKind.HISTORY, QoSPolicyKind.RELIABILITY
        depth = QUEUE if self._one_by_one else 1
        return self._subscribe(message_class, topic, self._on_image, depth, QoSOverridingOptions(policies))

    def _subscribe(
        self,
        message_class: type,
        topic: str,
        callback: Callable[[Any], None],
        depth: int = 1,
        overrides: QoSOverridingOptions | None = None,
    ) -> Subscription:
        return self._node.create_subscription(
            message_class,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=overrides or QoSOverridingOptions.with_default_policies(),
        )

    def _on_camera_info(self, info: CameraInfo) -> None:
        self._camera_info = info
