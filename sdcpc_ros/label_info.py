"""What the ids of a label image mean, told to whoever subscribes, however late."""

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from sdcpc_core.labels import LabelSet
from sdcpc_ros.label_spaces import label_names_json

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ModuleNotFoundError:
    LabelInfo = VisionClass = None

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LabelInfoOutput:
    """Publisher of ``label_info`` or, where vision_msgs is not installed, of ``label_names`` in JSON.

    Args:
        node: owner of the publisher.
        prefix: of the topic.
        labels: what the ids mean.
    """

    def __init__(self, node: LifecycleNode, prefix: str, labels: LabelSet) -> None:
        self._node = node
        if LabelInfo is None:
            message_class, topic, self._message = String, "label_names", String(data=label_names_json(labels))
        else:
            message_class, topic, self._message = LabelInfo, "label_info", label_info(labels, LabelInfo, VisionClass)
        self._publisher = node.create_lifecycle_publisher(message_class, f"{prefix}/{topic}", LATCHED)

    def publish(self) -> None:
        """Tell it once; the middleware repeats it to those who come later. The node must be active."""
        if LabelInfo is not None:
            self._message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._message)

    def destroy(self) -> None:
        """Take the topic off the graph."""
        self._node.destroy_lifecycle_publisher(self._publisher)


def label_info(labels: LabelSet, info_class: type, class_class: type) -> Any:
    """The classes as a ``vision_msgs/LabelInfo``, made of the classes of its messages."""
    classes = [class_class(class_id=index, class_name=name) for index, name in enumerate(labels.names)]
    return info_class(class_map=classes, threshold=0.0)
