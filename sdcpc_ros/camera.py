"""One camera of the node: from its messages to frames, and from answers to what is published."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage

from sdcpc_core.errors import InputError
from sdcpc_core.models.video_model import check_size
from sdcpc_core.streaming import ResetReason, Segmenter, StepResult, StreamFrame
from sdcpc_ros.camera_inputs import CameraInputs
from sdcpc_ros.compressed import compressed_to_rgb
from sdcpc_ros.conversions import image_to_rgb, stamp_to_ns
from sdcpc_ros.health import CameraHealth, Latency
from sdcpc_ros.mask_feed import MaskFeed
from sdcpc_ros.newest_frame import Arrival, NewestFrame, Turn
from sdcpc_ros.outputs import SegmentationOutputs
from sdcpc_ros.parameters import NodeParameters
from sdcpc_ros.slam_outputs import mask_class_ids

REPEAT_S = 5.0
"""At most one message in this time about frames that fail."""
FEW_COLOURS = 32
"""A picture with no more colours than this is hardly one of a camera."""


@dataclass(frozen=True)
class Reading:
    """A frame on its way through the network.

    Attributes:
        camera: whose frame it is.
        header: of its message.
        frame: what the network gets.
        wait_ms: from its arrival until it was read (ms).
        convert_ms: from the message to RGB (ms).
    """

    camera: "Camera"
    header: Any
    frame: StreamFrame
    wait_ms: float
    convert_ms: float


class Camera:
    """An active camera: its subscriptions, its stream, which begins without memory, and its results.

    Messages arrive in the executor's thread; one worker thread calls ``take``, ``read``, ``answer`` and ``fail``.

    Args:
        node: owner of the subscriptions.
        name: precedes the topics; may be empty.
        segmenter: the network.
        outputs: where results go.
        settings: of the node, checked.
        wake: called when there is something to ``take``.

    Attributes:
        name: as given.
        enabled: whether images are answered.
        health: what became of the frames.
        stream: state of its past frames.
        masks: what SLAM stacks get.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        segmenter: Segmenter,
        outputs: SegmentationOutputs,
        settings: NodeParameters,
        wake: Callable[[], None],
    ) -> None:
        self.name = name
        self.enabled = True
        self.health = CameraHealth(time.monotonic())
        self.stream = segmenter.stream(**stream_options(settings))
        self._node = node
        self._log = node.get_logger()
        self._segmenter = segmenter
        self._outputs = outputs
        self._settings = settings
        self._wake = wake
        self._next_due_s = 0.0
        self._quiet_until_s: dict[str, float] = {}
        self._reset_reason: str | None = None
        self._silence: str | None = None
        self._seen_one = False
        self.masks = MaskFeed(
            outputs,
            segmenter.labels,
            settings,
            camera_info=lambda header, size_hw: self._inputs.camera_info(header, size_hw),
            complain=lambda reason: self._complain("depth", reason),
        )
        self._waiting = NewestFrame(keeps_headers=lambda: self.masks.wants_skipped)
        self._inputs = CameraInputs(node, name, settings, self._on_image, self.masks.on_depth)

    def apply(self, settings: NodeParameters) -> None:
        """Take over those of the parameters, checked, that may change while the node runs."""
        if stream_options(settings) != stream_options(self._settings):
            self.stream = self._segmenter.stream(**stream_options(settings))
        self.masks.apply(settings)
        self._inputs.apply(settings)
        if settings.max_rate_hz != self._settings.max_rate_hz:
            self._next_due_s = 0.0
        self._settings = settings

    def reset(self, reason: str) -> None:
        """Forget the past before the next frame."""
        self._reset_reason = reason

    def close(self) -> None:
        """Unsubscribe; what still waits is dropped."""
        self._inputs.destroy()
        self.health.counts.dropped += self.take().frame is not None

    def check_input(self, now_s: float) -> str | None:
        """What is wrong with the input at a steady time (s), or None; said once in the log."""
        silence, timeout_s = None, self._settings.input_timeout_s
        if self.health.recent(now_s).silent_s > timeout_s:
            seen = self._inputs.describe_silence(heard_before=self.health.counts.received > 0)
            silence = f"no image on {self._inputs.image_topic} for {timeout_s:g} s: {seen}"
            if silence != self._silence:
                self._log.warning(silence)
        self._silence = silence
        return silence

    def take(self) -> Turn:
        """What there is to do, which may be nothing."""
        return self._waiting.take()

    @property
    def confidence_wanted(self) -> bool:
        """Whether anyone subscribes to the confidence."""
        return self._outputs.confidence_wanted

    def read(self, arrival: Arrival) -> Reading | None:
        """Make a frame of a message; None where it cannot be one, or nobody wants its answer."""
        self._reset_if_asked()
        if not self._outputs.wanted:
            self.health.counts.unheard += 1
            self._log.info(
                "images arrive, but nobody subscribes to an output: nothing is computed until someone does", once=True
            )
            return None
        message, started_s = arrival.message, time.monotonic()
        try:
            pixels = compressed_to_rgb(message) if isinstance(message, CompressedImage) else image_to_rgb(message)
            check_size(pixels.shape[:2])
        except InputError as err:
            self.health.bad(started_s, str(err))
            self._complain("frame", str(err))
            return None
        self._look_at_first(pixels)
        stamp_ns, frame_id = stamp_to_ns(message.header.stamp), message.header.frame_id
        frame = StreamFrame(self.stream, pixels, stamp_ns, frame_id, arrival.receive_ns)
        wait_s, convert_s = started_s - arrival.arrived_s, time.monotonic() - started_s
        return Reading(self, message.header, frame, 1e3 * wait_s, 1e3 * convert_s)

    def answer(self, reading: Reading, result: StepResult, infer_ms: float) -> None:
        """Publish what the network says of a frame, and note how long it took (ms)."""
        started_s = time.monotonic()
        if result.reset is not None:
            self.health.reset(result.reset.value)
            if result.reset is ResetReason.JUMP_BACK:
                self.masks.clear()
        self._outputs.publish(reading.header, reading.frame.frame, result, self._settings.overlay_alpha)
        self.masks.answer(reading.header, result.label_map)
        done_s = time.monotonic()
        publish_ms = 1e3 * (done_s - started_s)
        self.health.answered(done_s, Latency(reading.wait_ms, reading.convert_ms, infer_ms, publish_ms))

    def fail(self, reading: Reading, reason: str) -> None:
        """Give a frame up after an error."""
        # After a shutdown, publishing is bound to fail.
        if self._node.context.ok():
            self.health.failed(time.monotonic())
            self._say(self._log.error, f"frame{self._of_camera} lost", reason)
            self.masks.skip([reading.header])

    def _on_image(self, message: Any) -> None:
        counts, now_s = self.health.counts, time.monotonic()
        self.health.arrived(now_s, stamp_to_ns(message.header.stamp))
        if not self.enabled:
            counts.disabled += 1
        elif self._is_over_rate(now_s):
            counts.over_rate += 1
            if self._waiting.pass_over(message.header):
                self._wake()
        else:
            counts.dropped += self._waiting.put(Arrival(message, self._node.get_clock().now().nanoseconds, now_s))
            self._wake()

    def _is_over_rate(self, now_s: float) -> bool:
        if not self._settings.max_rate_hz:
            return False
        if now_s < self._next_due_s:
            return True
        period_s = 1 / self._settings.max_rate_hz
        # Counted from when the image was due, not from when it came: else jitter would lower the rate.
        from_s = self._next_due_s if now_s < self._next_due_s + period_s else now_s
        self._next_due_s = from_s + period_s
        return False

    def _reset_if_asked(self) -> None:
        reason, self._reset_reason = self._reset_reason, None
        if reason is not None:
            self.stream.reset()
            self.masks.clear()
            self.health.reset(reason)

    def _look_at_first(self, pixels: np.ndarray) -> None:
        if self._seen_one:
            return
        self._seen_one = True
        red, green, blue = np.moveaxis(pixels[::8, ::8].astype(np.int32), 2, 0)
        num_colours = len(np.unique(red << 16 | green << 8 | blue))
        if num_colours <= FEW_COLOURS:
            self._log.warning(
                f"the first image on {self._inputs.image_topic} has hardly any colours ({num_colours}): is it a "
                "label or mask image, or is the lens covered? The node needs the camera's picture"
            )

    def _complain(self, what: str, reason: str) -> None:
        self._say(self._log.warning, f"{what}{self._of_camera} skipped", reason)

    def _say(self, log: Callable[[str], object], trouble: str, reason: str) -> None:
        # Not rclpy's own throttle: it is one for all cameras, so that of several only the first would be heard.
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s.get(trouble, 0.0):
            self._quiet_until_s[trouble] = now_s + REPEAT_S
            log(f"{trouble}: {reason}")

    @property
    def _of_camera(self) -> str:
        return f" of {self.name}" if self.name else ""


def check_settings(settings: NodeParameters, segmenter: Segmenter) -> None:
    """Make sure that parameters fit a model.

    Raises:
        ConfigError: they do not.
    """
    segmenter.stream(**stream_options(settings))
    mask_class_ids(segmenter.labels, settings.mask_classes)


def stream_options(settings: NodeParameters) -> dict[str, Any]:
    """The parameters that make a stream, as ``Segmenter.stream`` takes them."""
    ages_s = settings.reference_ages_s if any(settings.reference_ages_s) else None
    return {"max_gap_s": settings.max_gap_s, "reference_ages_s": ages_s}
