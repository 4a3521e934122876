"""Cameras on one network: what becomes of each frame, who gets an answer when, and what is published."""

import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("rclpy")

from recording_node import RecordingNode, Segmenter, image, wait_until

from sdcpc_core.errors import ConfigError
from sdcpc_ros.camera import check_settings
from sdcpc_ros.camera_rig import CameraRig
from sdcpc_ros.outputs import SegmentationOutputs
from sdcpc_ros.parameters import NodeParameters

IMAGE_OUTPUTS = ["label", "label/compressed", "color", "overlay", "confidence", "mask"]


@pytest.fixture
def node():
    return RecordingNode()


@pytest.fixture
def segmenter():
    return Segmenter()


@pytest.fixture
def open_rig(node, segmenter):
    """Opener of a rig with cameras and parameters."""
    rigs = []

    def open_rig(*names: str, **parameters) -> CameraRig:
        settings = NodeParameters(**parameters)
        outputs = {
            name: SegmentationOutputs(node, segmenter.labels, name, with_depth=settings.edit_depth)
            for name in names or ("",)
        }
        rigs.append(CameraRig(node, segmenter, outputs, settings, prepare_thread=lambda: None))
        return rigs[-1]

    yield open_rig
    for rig in rigs:
        rig.close()


def is_settled(camera) -> bool:
    """Whether every frame received has met its end."""
    counts = vars(camera.health.counts)
    return counts["received"] == sum(counts.values()) - counts["received"]


def deliver(node, camera, message, topic: str = "/image") -> None:
    """Hand a message to a camera and wait until it is dealt with."""
    node.callbacks[topic](message)
    wait_until(lambda: is_settled(camera))


@pytest.mark.parametrize("wanted", IMAGE_OUTPUTS)
def test_only_what_someone_subscribes_to_is_published(node, open_rig, wanted):
    (camera,) = open_rig().cameras
    node.subscribe(f"segmentation/{wanted}")
    message = image(1)
    deliver(node, camera, message)
    assert {topic for topic, publisher in node.publishers.items() if publisher.published} == {f"segmentation/{wanted}"}
    assert node.published(f"segmentation/{wanted}")[0].header == message.header
    assert camera.health.counts.answered == 1


def test_nothing_is_computed_for_nobody(node, open_rig, segmenter):
    (camera,) = open_rig().cameras
    node.subscribe("segmentation/camera_info")
    deliver(node, camera, image(1))
    assert segmenter.batches == []
    assert camera.health.counts.unheard == 1


@pytest.mark.parametrize(
    ("spoil", "count", "said"),
    [
        (lambda message, segmenter: segmenter.errors.append(RuntimeError("out of memory")), "failed", "out of memory"),
        (lambda message, segmenter: setattr(message, "encoding", "16UC1"), "bad", "is depth"),
        (lambda message, segmenter: setattr(message, "height", 4), "bad", "32"),
    ],
    ids=["device", "depth", "small"],
)
def test_an_error_costs_one_frame(node, open_rig, segmenter, spoil, count, said):
    (camera,) = open_rig().cameras
    node.subscribe("segmentation/label")
    broken = image(1)
    spoil(broken, segmenter)
    deliver(node, camera, broken)
    deliver(node, camera, image(2))
    assert getattr(camera.health.counts, count) == 1
    assert camera.health.counts.answered == 1
    assert any(said in text for text in node.logged)


def test_a_bad_frame_of_one_camera_leaves_the_others_their_answers(node, open_rig, segmenter):
    rig = open_rig("front", "rear")
    node.subscribe("front/segmentation/label", "rear/segmentation/label")
    release = hold(segmenter)
    node.callbacks["/front/image"](image(1))
    wait_until(lambda: len(segmenter.batches) == 1)
    broken = image(2)
    broken.encoding = "32FC1"
    node.callbacks["/front/image"](broken)
    node.callbacks["/rear/image"](image(2))
    release()
    wait_until(lambda: all(map(is_settled, rig.cameras)))
    assert len(node.published("rear/segmentation/label")) == 1
    assert [camera.health.counts.bad for camera in rig.cameras] == [1, 0]


def hold(segmenter):
    """Keep the network busy with its next pass; gives what lets it go on."""
    gate = threading.Event()
    segmenter.gate = lambda: gate.wait(30)
    return gate.set


def test_waiting_frames_of_all_cameras_go_through_in_one_pass_and_the_newest_wins(node, open_rig, segmenter):
    rig = open_rig("front", "rear", "/left")
    for topic in ("front", "rear", "/left"):
        node.subscribe(f"{topic}/segmentation/label")
    release = hold(segmenter)
    node.callbacks["/front/image"](image(1))
    wait_until(lambda: len(segmenter.batches) == 1)
    for sec in (2, 3, 4):
        node.callbacks["/front/image"](image(sec))
    node.callbacks["/left/image"](image(2.5, size_hw=(64, 64)))
    node.callbacks["/rear/image"](image(2.25))
    release()
    wait_until(lambda: all(map(is_settled, rig.cameras)))
    assert segmenter.batches == [[1_000_000_000], [4_000_000_000, 2_250_000_000, 2_500_000_000]]
    front, rear, left = (camera.health.counts for camera in rig.cameras)
    assert (front.received, front.dropped, front.answered) == (4, 2, 2)
    assert (rear.answered, left.answered) == (1, 1)
    assert node.published("/left/segmentation/label")[0].height == 64


def test_after_a_shutdown_the_end_does_not_wait_for_the_network(node, segmenter, monkeypatch):
    monkeypatch.setattr("sdcpc_ros.camera_rig.PATIENCE_S", 0.0)
    rig = CameraRig(node, segmenter, {"": SegmentationOutputs(node, segmenter.labels)}, NodeParameters(), lambda: None)
    node.subscribe("segmentation/label")
    release = hold(segmenter)
    node.callbacks["/image"](image(1))
    wait_until(lambda: len(segmenter.batches) == 1)
    node.context.ok = lambda: False
    rig.close()
    assert node.callbacks == {}
    assert not is_settled(rig.cameras[0])
    release()


def test_a_fast_camera_does_not_crowd_out_a_slow_one_and_a_dead_one_holds_up_nobody(node, open_rig, segmenter):
    fast, slow, dead = open_rig("fast", "slow", "dead").cameras
    for name in ("fast", "slow", "dead"):
        node.subscribe(f"{name}/segmentation/label")
    segmenter.gate = lambda: time.sleep(0.005)
    for sec in range(1, 31):
        for part in range(10):
            node.callbacks["/fast/image"](image(sec + part / 10))
            time.sleep(0.001)
        node.callbacks["/slow/image"](image(sec))
        wait_until(lambda: is_settled(slow))
    wait_until(lambda: is_settled(fast))
    assert slow.health.counts.answered == 30
    assert fast.health.counts.answered >= 30
    assert dead.health.counts.received == 0


def test_each_camera_has_a_stream_of_its_own(node, open_rig):
    one, other = open_rig("front", "rear").cameras
    assert one.stream is not other.stream


def test_the_maximum_rate_is_kept_whatever_the_jitter(node, open_rig, monkeypatch):
    (camera,) = open_rig(max_rate_hz=10.0).cameras
    now_s = [0.0]
    monkeypatch.setattr("sdcpc_ros.camera.time.monotonic", lambda: now_s[0])
    for index in range(300):
        now_s[0] = 100 + index / 30 + 0.004 * (-1) ** index
        node.callbacks["/image"](image(1 + index / 30))
    counts = camera.health.counts
    assert 98 <= counts.received - counts.over_rate <= 102


def test_a_disabled_node_receives_and_does_not_answer(node, open_rig, segmenter):
    rig = open_rig()
    (camera,) = rig.cameras
    node.subscribe("segmentation/label")
    rig.enable(False)
    deliver(node, camera, image(1))
    rig.enable(True)
    deliver(node, camera, image(2))
    assert (camera.health.counts.disabled, camera.health.counts.answered) == (1, 1)
    assert segmenter.batches == [[2_000_000_000]]


def test_a_reset_comes_before_the_next_frame_and_is_counted(node, open_rig):
    rig = open_rig()
    (camera,) = rig.cameras
    node.subscribe("segmentation/label")
    deliver(node, camera, image(1))
    rig.reset("requested")
    assert camera.stream.resets == 0, "the worker may be in the midst of a frame"
    deliver(node, camera, image(2))
    deliver(node, camera, image(3))
    assert camera.stream.resets == 1
    assert camera.health.resets() == {"requested": 1}


def test_other_reference_ages_make_a_new_stream_other_settings_do_not(node, open_rig):
    rig = open_rig()
    (camera,) = rig.cameras
    stream = camera.stream
    assert stream.options == {"max_gap_s": 2.0, "reference_ages_s": None}
    rig.apply(NodeParameters(overlay_alpha=0.1))
    assert camera.stream is stream
    rig.apply(NodeParameters(reference_ages_s=(0.1, 0.3)))
    assert camera.stream.options == {"max_gap_s": 2.0, "reference_ages_s": (0.1, 0.3)}


@pytest.mark.parametrize(("before", "after", "depth"), [("", "last", 10), ("last", "none", 1)])
def test_images_queue_while_each_wants_a_mask(node, open_rig, before, after, depth):
    rig = open_rig(mask_for_skipped=before)
    rig.apply(NodeParameters(mask_for_skipped=after))
    assert node.depths["/image"] == depth
    node.subscribe("segmentation/label")
    deliver(node, rig.cameras[0], image(1))
    assert len(node.published("segmentation/label")) == 1


def test_settings_that_do_not_fit_the_model_are_refused(segmenter):
    check_settings(NodeParameters(mask_classes=("Car", "Sky")), segmenter)
    with pytest.raises(ConfigError, match=r"\['tank'\], but the classes are Sky, "):
        check_settings(replace(NodeParameters(), mask_classes=("Car", "tank")), segmenter)


def test_compressed_images_come_from_beside_the_image_topic(segmenter):
    import cv2
    import numpy as np
    from sensor_msgs.msg import CompressedImage

    node = RecordingNode(remapped={"/image": "/camera/image_raw"})
    settings = NodeParameters(image_transport="compressed")
    rig = CameraRig(node, segmenter, {"": SegmentationOutputs(node, segmenter.labels)}, settings, lambda: None)
    try:
        assert node.callbacks.keys() == {"/camera/image_raw/compressed", "/camera/camera_info"}
        node.subscribe("segmentation/label")
        message = image(1)
        png = cv2.imencode(".png", np.full((40, 48, 3), 3, np.uint8))[1].tobytes()
        deliver(
            node,
            rig.cameras[0],
            CompressedImage(header=message.header, format="png", data=png),
            "/camera/image_raw/compressed",
        )
        (label,) = node.published("segmentation/label")
        assert (label.header, label.height, label.width, set(label.data)) == (message.header, 40, 48, {3})
    finally:
        rig.close()


def test_silence_is_told_once_and_again_when_the_topic_changes(node, open_rig):
    (camera,) = open_rig().cameras
    later_s = time.monotonic() + 6
    said = [camera.check_input(later_s), camera.check_input(later_s)]
    node.types_on_topic = ["sensor_msgs/msg/CompressedImage"]
    said.append(camera.check_input(later_s))
    nobody, compressed = node.logged
    assert said == [nobody, nobody, compressed]
    assert "no image on /image for 5 s: nobody publishes it; has the camera started?" in nobody
    assert "publishers of sensor_msgs/msg/CompressedImage; set image_transport to 'compressed'" in compressed


def test_each_silence_of_a_camera_that_had_come_is_told(node, open_rig):
    (camera,) = open_rig().cameras
    for _ in range(2):
        deliver(node, camera, image(1))
        node.logged.clear()
        assert camera.check_input(time.monotonic()) is None
        for _ in range(2):
            assert "has the camera stopped?" in camera.check_input(time.monotonic() + 6)
        assert len(node.logged) == 1


def test_a_label_image_in_place_of_a_picture_is_told_so(node, open_rig):
    (camera,) = open_rig().cameras
    node.subscribe("segmentation/label")
    deliver(node, camera, image(1))
    deliver(node, camera, image(2))
    assert len([text for text in node.logged if "has hardly any colours (1): is it a label or mask image" in text]) == 1
