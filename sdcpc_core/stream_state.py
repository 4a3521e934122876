"""The state of one camera's stream: its clock, its resets and the frames it remembers."""

import logging
import operator
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.models.video_model import check_size
from sdcpc_core.reference_cache import (
    NS_PER_S,
    CachedFrame,
    NearestAgeCache,
    OffsetCache,
    ReadyReferences,
    ReferenceCache,
)

logger = logging.getLogger("sdcpc_core.streaming")


class ResetReason(Enum):
    """Why a stream forgot its past frames."""

    REQUESTED = "requested"
    JUMP_BACK = "the time jumped back"
    GAP = "a gap in time"
    SIZE = "the frame size changed"
    FRAME_ID = "the frame_id changed"


@dataclass
class StreamCounts:
    """What happened in a stream so far.

    Attributes:
        frames: frames segmented.
        resets: resets by reason.
        unusable_stamps: frames whose stamp was zero or a repetition, so that the receive time was used.
    """

    frames: int = 0
    resets: Counter[ResetReason] = field(default_factory=Counter)
    unusable_stamps: int = 0


@dataclass(frozen=True)
class Arrival:
    """A frame as its stream dated it, before the network has seen it.

    Attributes:
        stamp_ns: its time in the stream, which never stands still.
        given_ns: the latest usable stamp that came with a frame; None before the first.
        receive_ns: when it was received.
        size_hw: height and width in pixels.
        frame_id: coordinate frame of the camera.
        stamp_usable: whether its own stamp was used.
        reset: why the stream has to start anew with it, or None.
    """

    stamp_ns: int
    given_ns: int | None
    receive_ns: int
    size_hw: tuple[int, int]
    frame_id: str
    stamp_usable: bool
    reset: ResetReason | None


class StreamState:
    """What a stream knows of one camera's past.

    Args:
        reference_ages_s: wanted ages of the references (s), nearest first.
        max_gap_s: a longer silence resets the stream (s).
        reference_offsets: choose references by frame count instead of age; ``()`` makes every frame its own
            reference. For evaluation.

    Attributes:
        counts: what happened so far.
        ready: the references aligned last, for the frame at work or for the next one.

    Raises:
        ConfigError: an age, offset or gap is not positive.
    """

    def __init__(
        self,
        reference_ages_s: Sequence[float],
        *,
        max_gap_s: float = 2.0,
        reference_offsets: Sequence[int] | None = None,
    ) -> None:
        if not max_gap_s > 0:
            raise ConfigError(f"max_gap_s is {max_gap_s}; it must be a positive number of seconds")
        self.counts = StreamCounts()
        self.ready = ReadyReferences()
        by_age = reference_offsets is None
        self._cache: ReferenceCache = NearestAgeCache(reference_ages_s) if by_age else OffsetCache(reference_offsets)
        self._max_gap_ns = round(max_gap_s * NS_PER_S)
        self._last: Arrival | None = None
        self._period_ns = 0
        self._said: set[ResetReason | str] = set()

    def __len__(self) -> int:
        """Number of past frames whose state is kept."""
        return len(self._cache)

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width of the last frame in pixels; None before the first."""
        return self._last.size_hw if self._last else None

    def reset(self, reason: ResetReason = ResetReason.REQUESTED) -> None:
        """Forget all past frames; the next frame starts anew."""
        self._cache.clear()
        self.ready = ReadyReferences()
        self._last = None
        self._period_ns = 0
        self.counts.resets[reason] += 1
        if reason is not ResetReason.REQUESTED:
            self._say_once(reason, "stream reset: %s", reason.value)

    def receive(self, frame: np.ndarray, stamp_ns: int | None, frame_id: str, receive_ns: int | None) -> Arrival:
        """Check and date a frame without changing the stream.

        Raises:
            InputError: not an (H, W, 3) uint8 image of at least 32x32 pixels, or a time that is no integer.
        """
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise InputError(f"a frame is a (H, W, 3) uint8 RGB array; this one is {found}")
        size_hw = frame.shape[:2]
        check_size(size_hw)
        given_ns = _as_ns("stamp_ns", stamp_ns or 0)
        receive_ns = time.monotonic_ns() if receive_ns is None else _as_ns("receive_ns", receive_ns)
        last = self._last
        usable = given_ns > 0 and (last is None or given_ns != last.given_ns)
        if usable:
            stamp_ns = given_ns
        else:
            # Continues the stream's own time line, which need not share the receiver's clock.
            stamp_ns = last.stamp_ns + max(1, receive_ns - last.receive_ns) if last else receive_ns
            given_ns = last.given_ns if last else None
        reset = self._reset_reason(stamp_ns, given_ns, size_hw, frame_id)
        if last is not None and reset is None:
            # Frames dated by their receive time may have run ahead of a good stamp.
            stamp_ns = max(stamp_ns, last.stamp_ns + 1)
        return Arrival(stamp_ns, given_ns, receive_ns, size_hw, frame_id, usable, reset)

    def accept(self, arrival: Arrival) -> list[CachedFrame]:
        """Take the frame in: reset where it asks for it, and give its references; empty when there are none."""
        if not arrival.stamp_usable:
            self.counts.unusable_stamps += 1
            self._say_once("stamp", "frame with a zero or repeated stamp: its receive time is used")
        if arrival.reset is not None:
            self.reset(arrival.reset)
        return self._cache.select(arrival.stamp_ns)

    def remember(self, arrival: Arrival, frame: CachedFrame) -> None:
        """Keep a segmented frame."""
        self._cache.add(frame)
        if self._last is not None:
            self._period_ns = arrival.stamp_ns - self._last.stamp_ns
        self._last = arrival
        self.counts.frames += 1

    def expected_references(self) -> list[CachedFrame]:
        """References of the next frame if it comes after the same time as the last; empty before the first frame."""
        return self._cache.select(self._last.stamp_ns + self._period_ns) if self._last else []

    def _reset_reason(
        self, stamp_ns: int, given_ns: int | None, size_hw: tuple[int, int], frame_id: str
    ) -> ResetReason | None:
        last = self._last
        if last is None:
            return None
        if size_hw != last.size_hw:
            return ResetReason.SIZE
        if frame_id != last.frame_id:
            return ResetReason.FRAME_ID
        if stamp_ns < last.stamp_ns if last.given_ns is None else given_ns < last.given_ns:
            return ResetReason.JUMP_BACK
        if stamp_ns - last.stamp_ns > self._max_gap_ns:
            return ResetReason.GAP
        return None

    def _say_once(self, key: ResetReason | str, message: str, *args: object) -> None:
        if key not in self._said:
            self._said.add(key)
            logger.warning(message + " (said once, counted from now on)", *args)


def _as_ns(name: str, value: int) -> int:
    try:
        return int(operator.index(value))  # of NumPy's integers some would wrap around when subtracted
    except TypeError as err:
        raise InputError(f"{name} is {value!r}; it must be a whole number of nanoseconds") from err
