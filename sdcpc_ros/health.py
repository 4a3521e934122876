"""How a camera of the node is doing: what became of its frames, how often they come and how long answers take."""

import threading
from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

WINDOW_S = 10.0
"""Rates and latencies are those of this much of the past."""
MAX_CAUSES = 20
"""Different reasons for bad frames that are told apart."""
LOSSY = 0.7
"""Below this share of the frames a camera seems to send, images are said to get lost on their way."""


class Latency(NamedTuple):
    """Where the time of one answer went (ms).

    Attributes:
        wait_ms: from its arrival until the worker took the frame.
        convert_ms: from the message to RGB.
        infer_ms: in the network, together with the frames of other cameras that shared the pass.
        publish_ms: until the last output was handed to the middleware.
    """

    wait_ms: float
    convert_ms: float
    infer_ms: float
    publish_ms: float

    @property
    def total_ms(self) -> float:
        """From arrival to published."""
        return sum(self)


@dataclass
class FrameCounts:
    """What became of the frames since activation.

    Attributes:
        received: frames that arrived.
        disabled: came while the node was disabled.
        over_rate: left out to keep to the maximum rate.
        dropped: replaced by a newer one before their turn.
        unheard: not computed, because nobody subscribed to any output.
        bad: not a usable image.
        failed: lost to an error of the program or the device.
        answered: segmented and published.
    """

    received: int = 0
    disabled: int = 0
    over_rate: int = 0
    dropped: int = 0
    unheard: int = 0
    bad: int = 0
    failed: int = 0
    answered: int = 0

    def __str__(self) -> str:
        return (
            f"{self.answered} of {self.received} frames answered ({self.dropped} dropped for a newer one, "
            f"{self.over_rate} over the maximum rate, {self.disabled} while disabled, "
            f"{self.unheard} without a subscriber, {self.bad} bad, {self.failed} failed)"
        )


@dataclass(frozen=True)
class Recent:
    """The last ``WINDOW_S`` seconds of a camera.

    Attributes:
        rate_in_hz: images that arrived.
        rate_out_hz: images that were answered.
        latencies: of the answers.
        bad: frames that were no usable image.
        failed: frames lost to errors.
        arriving: share of the images sent that arrived, as far as their stamps tell; None where they do not.
        silent_s: time since the last image (s), or since activation.
    """

    rate_in_hz: float
    rate_out_hz: float
    latencies: tuple[Latency, ...]
    bad: int
    failed: int
    arriving: float | None
    silent_s: float


class CameraHealth:
    """The record that a camera keeps of itself; written and read by different threads.

    Args:
        started_s: steady time of activation (s).

    Attributes:
        counts: since activation.
    """

    def __init__(self, started_s: float) -> None:
        self.counts = FrameCounts()
        self._started_s = started_s
        self._last_s: float | None = None
        self._stamps_ns: _Window[int] = _Window()
        self._latencies: _Window[Latency] = _Window()
        self._bad: _Window[str] = _Window()
        self._failed: _Window[None] = _Window()
        self._causes: Counter[str] = Counter()
        self._resets: Counter[str] = Counter()
        self._lock = threading.Lock()

    def arrived(self, now_s: float, stamp_ns: int) -> None:
        """Note an image that came at a steady time (s), with its stamp."""
        with self._lock:
            self.counts.received += 1
            self._last_s = now_s
            self._stamps_ns.add(now_s, stamp_ns)

    def answered(self, now_s: float, latency: Latency) -> None:
        """Note an answer published at a steady time (s)."""
        with self._lock:
            self.counts.answered += 1
            self._latencies.add(now_s, latency)

    def bad(self, now_s: float, cause: str) -> None:
        """Note a frame that was no usable image."""
        with self._lock:
            self.counts.bad += 1
            self._bad.add(now_s, cause)
            known = cause in self._causes or len(self._causes) < MAX_CAUSES
            self._causes[cause if known else "other"] += 1

    def failed(self, now_s: float) -> None:
        """Note a frame lost to an error."""
        with self._lock:
            self.counts.failed += 1
            self._failed.add(now_s, None)

    def reset(self, reason: str) -> None:
        """Note that the stream began anew."""
        with self._lock:
            self._resets[reason] += 1

    def causes(self) -> dict[str, int]:
        """Bad frames since activation, by reason."""
        with self._lock:
            return dict(self._causes)

    def resets(self) -> dict[str, int]:
        """Resets of the stream since activation, by reason."""
        with self._lock:
            return dict(self._resets)

    def recent(self, now_s: float) -> Recent:
        """What the last seconds were like."""
        with self._lock:
            stamps_ns, latencies = self._stamps_ns.since(now_s), self._latencies.since(now_s)
            bad, failed = len(self._bad.since(now_s)), len(self._failed.since(now_s))
            silent_s = now_s - (self._started_s if self._last_s is None else self._last_s)
        window_s = max(1.0, min(WINDOW_S, now_s - self._started_s))
        rates_hz = len(stamps_ns) / window_s, len(latencies) / window_s
        return Recent(*rates_hz, tuple(latencies), bad, failed, arriving_share(stamps_ns), silent_s)


class _Window(Generic[T]):
    """What was noted in the last seconds."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, T]] = deque()

    def add(self, now_s: float, value: T) -> None:
        self._events.append((now_s, value))
        self._forget(now_s)

    def since(self, now_s: float) -> list[T]:
        self._forget(now_s)
        return [value for _, value in self._events]

    def _forget(self, now_s: float) -> None:
        while self._events and self._events[0][0] <= now_s - WINDOW_S:
            self._events.popleft()


def arriving_share(stamps_ns: list[int]) -> float | None:
    """How many of a camera's images arrive, judged by the gaps that missing ones leave between the stamps.

    Args:
        stamps_ns: of the images that came, in their order.

    Returns:
        At most 1; None for fewer than ten images, or stamps that are no regular clock.
    """
    steps_ns = [after - before for before, after in pairwise(stamps_ns)]
    if len(steps_ns) < 9 or min(steps_ns) <= 0:
        return None
    # Where only some are lost, neighbours still come: the short steps are those of the camera.
    period_ns = median(sorted(steps_ns)[: max(3, len(steps_ns) // 4)])
    return min(1.0, len(steps_ns) * period_ns / sum(steps_ns))
