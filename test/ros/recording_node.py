"""The parts of a node and a network that a camera uses, without DDS and without weights."""

import time
from types import SimpleNamespace

import numpy as np

from sdcpc_core.labels import CAMVID


class Publisher:
    """Keeps what is published; ``subscribers`` says how many want it."""

    def __init__(self) -> None:
        self.subscribers = 0
        self.published = []

    def get_subscription_count(self) -> int:
        return self.subscribers

    def publish(self, message) -> None:
        self.published.append(message)


class RecordingNode:
    """Keeps what it is told; ``publishers``, ``callbacks`` and ``depths`` are by topic."""

    def __init__(self, *, remapped: dict[str, str] | None = None) -> None:
        self.logged = []
        self.publishers = {}
        self.callbacks = {}
        self.depths = {}
        self.types_on_topic = []
        self.context = SimpleNamespace(ok=lambda: True)
        self._remapped = remapped or {}

    def create_lifecycle_publisher(self, message_class, topic, qos, **options):
        return self.publishers.setdefault(topic, Publisher())

    def create_subscription(self, message_class, topic, callback, qos, **options):
        self.callbacks[self.resolve_topic_name(topic)] = callback
        self.depths[self.resolve_topic_name(topic)] = qos.depth
        return SimpleNamespace(topic_name=self.resolve_topic_name(topic), msg_type=message_class)

    def resolve_topic_name(self, topic, *, only_expand=False):
        expanded = topic if topic.startswith("/") else f"/{topic}"
        return expanded if only_expand else self._remapped.get(expanded, expanded)

    def get_logger(self):
        def log(text, **options):
            self.logged.append(text)

        return SimpleNamespace(info=log, warning=log, error=log)

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=5))

    def get_publishers_info_by_topic(self, topic):
        return [SimpleNamespace(topic_type=name) for name in self.types_on_topic]

    def destroy_subscription(self, subscription) -> None:
        del self.callbacks[subscription.topic_name]

    def subscribe(self, *topics: str) -> None:
        """Let someone want these topics."""
        for topic in topics:
            self.publishers[topic].subscribers = 1

    def published(self, topic: str) -> list:
        return self.publishers[topic].published


class Segmenter:
    """Labels every pixel with the red of the first one, unless told to fail once or to wait.

    Attributes:
        batches: for each pass, the stamps of its frames.
        errors: raised one after the other.
        gate: called in every pass.
    """

    labels = CAMVID

    def __init__(self) -> None:
        self.errors = []
        self.batches = []
        self.streams = []
        self.gate = lambda: None

    def stream(self, **options):
        stream = SimpleNamespace(
            options=options, resets=0, counts=SimpleNamespace(unusable_stamps=0), reset=lambda: count(stream)
        )

        def count(stream) -> None:
            stream.resets += 1

        self.streams.append(stream)
        return stream

    def prepare(self, streams):
        """There is nothing to do ahead."""

    def step_batch(self, frames, *, with_confidence):
        self.batches.append([frame.stamp_ns for frame in frames])
        self.gate()
        if self.errors:
            raise self.errors.pop()
        results = []
        for frame in frames:
            label_map = np.full(frame.frame.shape[:2], frame.frame[0, 0, 0], np.uint8)
            confidence = label_map if with_confidence else None
            results.append(SimpleNamespace(label_map=label_map, confidence=confidence, reset=None))
        return results


def image(sec: float, value: int = 3, size_hw=(40, 48), frame_id: str = "front"):
    """A camera image of one colour, stamped in seconds."""
    from std_msgs.msg import Header

    from sdcpc_ros.conversions import array_to_image, ns_to_stamp

    return array_to_image(
        np.full((*size_hw, 3), value, np.uint8), Header(stamp=ns_to_stamp(round(sec * 1e9)), frame_id=frame_id)
    )


def wait_until(done, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.001)
