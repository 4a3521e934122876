"""One camera: the way of a frame from subscription to published result."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image

from sdcpc_core.errors import InputError
from sdcpc_core.streaming import Segmenter
from sdcpc_ros.conversions import image_to_rgb, stamp_to_ns
from sdcpc_ros.latest_worker import LatestWorker
from sdcpc_ros.outputs import SegmentationOutputs, is_wanted

SILENCE_S = 5.0
"""After this long without an image the node says, once per silence, what it sees of the topic."""
REPEAT_S = 5.0
"""At most one message in this time about frames that fail."""


@dataclass(frozen=True)
class Arrival:
    """An image and when it came.

    Attributes:
        message: as received.
        receive_ns: the node's clock (ns), simulated time where ``use_sim_time`` is set.
    """

    message: Image
    receive_ns: int


@dataclass
class FrameCounts:
    """What became of the frames since activation; each field is written by one thread only.

    Attributes:
        received: frames that arrived.
        dropped: replaced by a newer one before their turn.
        unheard: not computed, because nobody subscribed to any output.
        bad: not a usable image.
        failed: lost to an error of the program or the device.
        answered: segmented and published.
    """

    received: int = 0
    dropped: int = 0
    unheard: int = 0
    bad: int = 0
    failed: int = 0
    answered: int = 0

    def __str__(self) -> str:
        return (
            f"{self.answered} of {self.received} frames answered ({self.dropped} dropped for a newer one, "
            f"{self.unheard} without a subscriber, {self.bad} bad, {self.failed} failed)"
        )


class Camera:
    """An open camera topic: answers the newest frame, one at a time, in a thread of its own.

    The stream begins without memory. Frames are received until ``close``.

    Args:
        node: owner of the subscription.
        segmenter: the network.
        outputs: where results go.
        max_gap_s: a longer pause between two stamps (s) starts the stream anew.
        overlay_alpha: share of the class colours in the overlay, 0..1; may be changed at any time.
        prepare_thread: called in the worker thread before its first frame.
    """

    def __init__(
        self,
        node: LifecycleNode,
        segmenter: Segmenter,
        outputs: SegmentationOutputs,
        *,
        max_gap_s: float,
        overlay_alpha: float,
        prepare_thread: Callable[[], None],
    ) -> None:
        self.overlay_alpha = overlay_alpha
        self.counts = FrameCounts()
        self._node = node
        self._log = node.get_logger()
        self._segmenter = segmenter
        self._outputs = outputs
        self._stream = segmenter.stream(max_gap_s=max_gap_s)
        self._subscription = node.create_subscription(
            Image,
            "image",
            self._on_image,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        # Steady, because a simulated clock may stand still for the very reason that nothing is played.
        self._silence_timer = node.create_timer(
            SILENCE_S, self._on_silence, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._received_before = 0
        self._said_of_silence: str | None = None
        self._worker = LatestWorker(self._answer, prepare=prepare_thread)

    def close(self) -> None:
        """Unsubscribe and let the frame at work finish."""
        self._node.destroy_timer(self._silence_timer)
        self._node.destroy_subscription(self._subscription)
        self.counts.dropped += self._worker.stop()
        # After a shutdown /rosout is gone, and the node's logger would complain; this one writes to the console only.
        log = self._log if self._node.context.ok() else get_logger("sdcpc_ros")
        log.info(str(self.counts))

    def _on_image(self, message: Image) -> None:
        self.counts.received += 1
        self.counts.dropped += self._worker.offer(Arrival(message, self._node.get_clock().now().nanoseconds))

    def _answer(self, arrival: Arrival) -> None:
        try:
            if self._outputs.wanted:
                self._segment(arrival)
                self.counts.answered += 1
            else:
                self.counts.unheard += 1
                self._log.info(
                    "images arrive, but nobody subscribes to an output: nothing is computed until someone does",
                    once=True,
                )
        except InputError as err:
            self.counts.bad += 1
            self._log.warning(f"frame skipped: {err}", throttle_duration_sec=REPEAT_S)
        except Exception:
            # The worker outlives whatever one frame does to it: a full GPU may have room again for the next.
            # After a shutdown, publishing is bound to fail.
            if self._node.context.ok():
                self.counts.failed += 1
                self._log.error(f"frame lost: {traceback.format_exc()}", throttle_duration_sec=REPEAT_S)

    def _segment(self, arrival: Arrival) -> None:
        header = arrival.message.header
        frame = image_to_rgb(arrival.message)
        result = self._stream.step(
            frame,
            stamp_to_ns(header.stamp),
            frame_id=header.frame_id,
            receive_ns=arrival.receive_ns,
            with_confidence=is_wanted(self._outputs.confidence),
        )
        self._outputs.publish(header, frame, result, self._segmenter.labels, self.overlay_alpha)

    def _on_silence(self) -> None:
        if self.counts.received > self._received_before:
            self._received_before = self.counts.received
            self._said_of_silence = None
            return
        topic = self._subscription.topic_name
        types = [publisher.topic_type for publisher in self._node.get_publishers_info_by_topic(topic)]
        seen = f"it has publishers of {', '.join(types)}" if types else "nobody publishes it"
        if self.counts.received:
            advice = "images came before: has the camera stopped?"
        elif types:
            advice = "look at the type, the QoS of the publisher and the transport of large messages"
        else:
            advice = "has the camera started? 'image' is to be remapped to its topic"
        text = f"no image on {topic} for {SILENCE_S:g} s: {seen}; {advice}"
        if text != self._said_of_silence:
            self._said_of_silence = text
            self._log.warning(text)
