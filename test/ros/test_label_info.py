"""What the ids mean, as vision_msgs has it where it is installed."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from recording_node import RecordingNode

from sdcpc_core.labels import CAMVID
from sdcpc_ros import label_info


class Message(SimpleNamespace):
    pass


def test_label_info_lists_every_class():
    message = label_info.label_info(CAMVID, Message, Message)
    assert [(entry.class_id, entry.class_name) for entry in message.class_map] == list(enumerate(CAMVID.names))


def test_where_vision_msgs_is_installed_its_type_is_published_and_stamped(monkeypatch):
    class Info(Message):
        def __init__(self, **fields) -> None:
            super().__init__(header=SimpleNamespace(stamp=None), **fields)

    node = RecordingNode()
    node.get_clock = lambda: SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: "now"))
    monkeypatch.setattr(label_info, "LabelInfo", Info)
    monkeypatch.setattr(label_info, "VisionClass", Message)
    output = label_info.LabelInfoOutput(node, "front/segmentation", CAMVID)
    output.publish()
    (told,) = node.published("front/segmentation/label_info")
    assert told.header.stamp == "now"
    assert len(told.class_map) == 11
