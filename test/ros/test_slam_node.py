"""What SLAM stacks subscribe to, from a node with two cameras in a namespace, over DDS."""

import json

import cv2
import numpy as np
import pytest

from sdcpc_core.labels import CAMVID

IMAGES = ("robot/front/image", "robot/rear/image")
FRONT = "robot/front/segmentation"
REAR = "robot/rear/segmentation"


@pytest.fixture(scope="module")
def node(start_node, small_checkpoint):
    # Reliable, so that the tests may count on every frame sent.
    reliable = [
        f"qos_overrides./robot/{topic}.subscription.reliability:=reliable"
        for topic in ("front/image", "rear/image", "front/depth", "front/camera_info")
    ]
    parameters = ["cameras:=[front, rear]", "mask_preset:=cuvslam", "edit_depth:=true", "input_timeout_s:=1.0"]
    settings = [f"checkpoint:={small_checkpoint}", "device:=cpu", "cpu_threads:=1", *parameters, *reliable]
    with start_node(*settings, namespace="/robot") as node:
        node.wait_for_log("11 classes of 'camvid'")
        yield node


def pixels_of(message, dtype=np.uint8) -> np.ndarray:
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def test_every_camera_gets_its_own_answers(node, peer, labels_of, small_checkpoint, scene):
    front, rear = scene(seed=1), scene(seed=2)
    peer.listen(f"{FRONT}/label", f"{REAR}/label")
    peer.greet(front, topics=IMAGES)
    # After a gap each stream starts anew, so the frames stand alone here as there. Both at once: one batch or two.
    header = peer.header(after_s=100.0)
    images = [
        peer.send(pixels, topic=topic, header=header) for pixels, topic in zip((front, rear), IMAGES, strict=True)
    ]
    for image, pixels, topic in zip(images, (front, rear), (FRONT, REAR), strict=True):
        answer = peer.answer_to(image, f"{topic}/label")
        assert np.mean(pixels_of(answer) != labels_of(small_checkpoint, pixels)) < 0.005


def test_mask_calibration_and_depth_belong_to_the_image_bit_for_bit(node, peer, scene):
    from sensor_msgs.msg import CameraInfo, CompressedImage

    frame = scene(seed=3)
    distance_mm = np.arange(1, frame.shape[0] * frame.shape[1] + 1, dtype=np.uint16).reshape(frame.shape[:2])
    calibration = CameraInfo(height=frame.shape[0], width=frame.shape[1], distortion_model="plumb_bob", d=[0.1] * 5)
    peer.listen(f"{FRONT}/label", f"{FRONT}/mask", f"{FRONT}/depth")
    peer.listen(f"{FRONT}/camera_info", message_class=CameraInfo)
    peer.listen(f"{FRONT}/label/compressed", message_class=CompressedImage)
    topics = [f"{FRONT}/{name}" for name in ("label", "mask", "depth", "camera_info", "label/compressed")]

    def send(header):
        peer.publish("robot/front/camera_info", calibration)
        peer.send(distance_mm, "16UC1", topic="robot/front/depth", header=header)
        return peer.send(frame, topic=IMAGES[0], header=header)

    def all_have_answered() -> bool:
        send(peer.header())
        return peer.spin_until(lambda: all(peer.answers[topic] for topic in topics), timeout_s=0.5)

    assert any(all_have_answered() for _ in range(100)), {topic: len(peer.answers[topic]) for topic in topics}
    image = send(peer.header())
    label, mask, depth, info, png = (peer.answer_to(image, topic) for topic in topics)
    labels = pixels_of(label)
    dynamic = np.isin(labels, CAMVID.dynamic_ids)
    assert (mask.encoding, mask.step) == ("mono8", frame.shape[1])
    assert np.array_equal(pixels_of(mask), np.where(dynamic, 255, 0))
    assert depth.encoding == "16UC1"
    assert np.array_equal(pixels_of(depth, np.uint16), np.where(dynamic, 0, distance_mm))
    assert (info.height, info.width, list(info.d)) == (*frame.shape[:2], [0.1] * 5)
    assert png.format == "mono8; png compressed "
    assert np.array_equal(cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED), labels)


def test_every_image_gets_a_mask_in_order_whether_it_is_answered_or_not(node, peer, scene):
    frame = scene((480, 640), seed=4)
    # Images come one by one from the time when that is asked for, however often.
    for preset in ("nvblox", "cuvslam"):
        assert peer.set_parameter("mask_preset", preset, node="robot/segmentation").successful
    peer.listen(f"{FRONT}/mask", f"{FRONT}/label")
    peer.greet(frame, topics=IMAGES)
    # All at once, which no network answers.
    sent = [peer.send(frame, topic=IMAGES[0], after_s=0.02) for _ in range(8)]
    peer.answer_to(sent[-1], f"{FRONT}/mask")
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in peer.answers[f"{FRONT}/mask"]]
    wanted = [(image.header.stamp.sec, image.header.stamp.nanosec) for image in sent]
    assert [stamp for stamp in stamps if stamp in wanted] == wanted
    assert stamps == sorted(set(stamps))
    assert len([m for m in peer.answers[f"{FRONT}/label"] if m.header in [s.header for s in sent]]) < len(sent)


def test_what_changes_while_the_node_runs_does(node, peer, scene):
    frame = scene(seed=5)
    peer.listen(f"{FRONT}/mask", f"{FRONT}/label")
    peer.greet(frame, topics=IMAGES)
    name = "robot/segmentation"
    for parameter, value in (("mask_preset", "stella_vslam"), ("mask_classes", ["Sky", "Road"])):
        assert peer.set_parameter(parameter, value, node=name).successful
    try:
        image = peer.send(frame, topic=IMAGES[0])
        mask, label = (peer.answer_to(image, f"{FRONT}/{output}") for output in ("mask", "label"))
        chosen = np.isin(pixels_of(label), [CAMVID.names.index("Sky"), CAMVID.names.index("Road")])
        assert np.array_equal(pixels_of(mask), np.where(chosen, 0, 255))
    finally:
        for parameter, value in (("mask_preset", "cuvslam"), ("mask_classes", [""])):
            assert peer.set_parameter(parameter, value, node=name).successful
    for parameter, value, reason in (
        ("mask_classes", ["tank"], "but the classes are Sky"),
        ("reference_ages_s", [0.1], "2 references"),
        ("mask_preset", "orbslam", "one of"),
        ("cameras", ["left"], "is read when the node configures"),
    ):
        refused = peer.set_parameter(parameter, value, node=name)
        assert not refused.successful
        assert reason in refused.reason


def test_late_subscribers_are_told_what_the_ids_mean(node, peer):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    topic = f"{REAR}/label_names"
    peer.listen(topic, message_class=String, qos=QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert peer.spin_until(lambda: bool(peer.answers[topic]))
    told = json.loads(peer.answers[topic][0].data)
    assert [entry["class_name"] for entry in told["class_map"]] == list(CAMVID.names)


def test_services_reset_streams_and_stop_answers(node, peer, scene):
    from std_srvs.srv import SetBool, Trigger

    frame = scene(seed=6)
    peer.listen(f"{FRONT}/label")
    peer.greet(frame, topics=IMAGES)
    assert peer.call(Trigger, "robot/segmentation/reset", Trigger.Request()).success
    assert peer.call(SetBool, "robot/segmentation/enable", SetBool.Request(data=False)).success
    try:
        unanswered = peer.send(frame, topic=IMAGES[0])
        peer.spin_until(lambda: False, timeout_s=1.0)
    finally:
        assert peer.call(SetBool, "robot/segmentation/enable", SetBool.Request(data=True)).success
    peer.answer_to(peer.send(frame, topic=IMAGES[0]), f"{FRONT}/label")
    assert unanswered.header not in [answer.header for answer in peer.answers[f"{FRONT}/label"]]


def test_diagnostics_tell_of_node_and_cameras(node, peer, scene):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    frame = scene(seed=7)
    peer.listen(f"{FRONT}/label", f"{REAR}/label")
    peer.greet(frame, topics=IMAGES)
    peer.answer_to(peer.send(frame, topic=IMAGES[0]), f"{FRONT}/label")
    peer.send(frame[..., :2], "16UC1", topic=IMAGES[0])
    peer.listen("/diagnostics", message_class=DiagnosticArray)

    def told(name: str, wanted) -> bool:
        arrays = peer.answers["/diagnostics"]
        return any(status.name == name and wanted(status) for array in arrays for status in array.status)

    def bad(status) -> bool:
        values = {pair.key: pair.value for pair in status.values}
        return (
            status.level == DiagnosticStatus.WARN
            and any(key.startswith("bad: encoding '16UC1' is depth") for key in values)
            and float(values["latency: infer, p99 (ms)"]) > 0
            and int(values["frames answered"]) > 0
        )

    def silent(status) -> bool:
        return status.level == DiagnosticStatus.ERROR and "no image on /robot/rear/image for 1 s" in status.message

    def active(status) -> bool:
        values = {pair.key: pair.value for pair in status.values}
        return status.message == values.get("state") == "active" and values["device"].startswith("cpu (")

    name = "/robot/segmentation"
    for status_name, wanted in ((f"{name}: front", bad), (f"{name}: rear", silent), (name, active)):
        assert peer.spin_until(lambda n=status_name, w=wanted: told(n, w)), peer.answers["/diagnostics"][-1:]
