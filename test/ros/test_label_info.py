"""What the ids mean, as vision_msgs has it where it is installed."""

from functools import partial
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from recording_node import RecordingNode

from sdcpc_core.labels import CAMVID
from sdcpc_ros import label_info

VISION_MSGS = {
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name",
}
"""Definitions of version 4."""


class Message(SimpleNamespace):
    pass


def test_label_info_lists_every_class_in_the_fields_of_vision_msgs():
    pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")
    from rosbags.typesys import get_types_from_msg

    from sdcpc_ros.bag_io import standard_types

    store = standard_types()
    for name, definition in VISION_MSGS.items():
        store.register(get_types_from_msg(definition, name))
    info_class, class_class = (store.types[name] for name in VISION_MSGS)
    header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](1, 2), "")
    message = label_info.label_info(CAMVID, partial(info_class, header=header), class_class)
    raw = store.serialize_cdr(message, "vision_msgs/msg/LabelInfo")
    read = store.deserialize_cdr(raw, "vision_msgs/msg/LabelInfo")
    assert [(entry.class_id, entry.class_name) for entry in read.class_map] == list(enumerate(CAMVID.names))


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
