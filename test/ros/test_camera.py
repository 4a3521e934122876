"""What becomes of a frame: answered, bad, failed or unheard; and only what is wanted is published."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from sdcpc_core.errors import InputError
from sdcpc_core.labels import CAMVID

pytest.importorskip("rclpy")

from sdcpc_ros.camera import Camera
from sdcpc_ros.conversions import array_to_image
from sdcpc_ros.outputs import SegmentationOutputs


class Publisher:
    def __init__(self) -> None:
        self.subscribers = 0
        self.published = []

    def get_subscription_count(self) -> int:
        return self.subscribers

    def publish(self, message) -> None:
        self.published.append(message)


class RecordingNode:
    """The part of a life-cycle node that a camera uses; keeps what it is told."""

    def __init__(self) -> None:
        self.logged = []
        self.publishers = {}
        self.types_on_topic = []
        self.context = SimpleNamespace(ok=lambda: True)

    def create_lifecycle_publisher(self, message_class, topic, qos, **options):
        return self.publishers.setdefault(topic.removeprefix("segmentation/"), Publisher())

    def create_subscription(self, message_class, topic, callback, qos, **options):
        self.receive = callback
        return SimpleNamespace(topic_name=f"/{topic}")

    def create_timer(self, period_s, callback, clock):
        self.fall_silent = callback
        return SimpleNamespace(cancel=lambda: None)

    def get_logger(self):
        def log(text, **options):
            self.logged.append(text)

        return SimpleNamespace(info=log, warning=log, error=log)

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=5))

    def get_publishers_info_by_topic(self, topic):
        return [SimpleNamespace(topic_type=name) for name in self.types_on_topic]

    def destroy_timer(self, timer) -> None:
        pass

    def destroy_subscription(self, subscription) -> None:
        pass


class Segmenter:
    """Labels every pixel 3, unless told to fail once."""

    labels = CAMVID

    def __init__(self) -> None:
        self.errors = []
        self.stamps_ns = []

    def stream(self, *, max_gap_s):
        return self

    def step(self, frame, stamp_ns, *, frame_id, receive_ns, with_confidence):
        self.stamps_ns.append((stamp_ns, receive_ns))
        if self.errors:
            raise self.errors.pop()
        full = np.full(frame.shape[:2], 3, np.uint8)
        return SimpleNamespace(label_map=full, confidence=full if with_confidence else None)


@pytest.fixture
def node():
    return RecordingNode()


@pytest.fixture
def segmenter():
    return Segmenter()


@pytest.fixture
def camera(node, segmenter):
    camera = Camera(
        node, segmenter, SegmentationOutputs(node), max_gap_s=2.0, overlay_alpha=0.5, prepare_thread=lambda: None
    )
    yield camera
    camera.close()


def image(sec: int):
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return array_to_image(np.zeros((40, 48, 3), np.uint8), Header(stamp=Time(sec=sec, nanosec=7), frame_id="front"))


def deliver(node, camera, message) -> None:
    """Hand a message to the camera and wait until it is dealt with."""
    counts = camera.counts
    node.receive(message)
    deadline = time.monotonic() + 30
    while counts.received > counts.answered + counts.bad + counts.failed + counts.unheard:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("wanted", ["label", "color", "overlay", "confidence"])
def test_only_what_someone_subscribes_to_is_published(node, camera, wanted):
    node.publishers[wanted].subscribers = 1
    message = image(1)
    deliver(node, camera, message)
    assert {topic for topic, publisher in node.publishers.items() if publisher.published} == {wanted}
    assert node.publishers[wanted].published[0].header == message.header
    assert camera.counts.answered == 1


def test_nothing_is_computed_for_nobody(node, camera, segmenter):
    deliver(node, camera, image(1))
    assert segmenter.stamps_ns == []
    assert camera.counts.unheard == 1


def test_the_stream_gets_stamp_and_receive_time(node, camera, segmenter):
    node.publishers["label"].subscribers = 1
    deliver(node, camera, image(3))
    assert segmenter.stamps_ns == [(3_000_000_007, 5)]


@pytest.mark.parametrize(
    ("error", "count", "said"),
    [
        (RuntimeError("out of memory"), "failed", "out of memory"),
        (InputError("too small"), "bad", "too small"),
    ],
)
def test_an_error_costs_one_frame(node, camera, segmenter, error, count, said):
    node.publishers["label"].subscribers = 1
    segmenter.errors.append(error)
    deliver(node, camera, image(1))
    deliver(node, camera, image(2))
    assert getattr(camera.counts, count) == 1
    assert camera.counts.answered == 1
    assert said in node.logged[0]


def test_silence_is_told_once_and_again_when_the_topic_changes(node, camera):
    node.fall_silent()
    node.fall_silent()
    node.types_on_topic = ["sensor_msgs/msg/CompressedImage"]
    node.fall_silent()
    nobody, compressed = node.logged
    assert "no image on /image" in nobody
    assert "nobody publishes it; has the camera started?" in nobody
    assert "publishers of sensor_msgs/msg/CompressedImage; look at the type" in compressed


def test_each_silence_of_a_camera_that_had_come_is_told(node, camera):
    for _ in range(2):
        deliver(node, camera, image(1))
        node.logged.clear()
        node.fall_silent()
        assert node.logged == []
        node.fall_silent()
        node.fall_silent()
        assert len(node.logged) == 1
        assert "has the camera stopped?" in node.logged[0]
