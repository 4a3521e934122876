"""Which frames of a stream are kept, and which of them serve as references."""

import math
import operator
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.video_model import AlignedReferences, FrameState

NS_PER_S = 1_000_000_000


class CachedFrame(NamedTuple):
    """A past frame: its time and what the network keeps of it (batch size 1)."""

    stamp_ns: int
    state: FrameState


class ReadyReferences(NamedTuple):
    """References aligned with each other, waiting for a target.

    Attributes:
        frames: those aligned, nearest first.
        aligned: what became of them (batch size 1).
    """

    frames: Sequence[CachedFrame] = ()
    aligned: AlignedReferences = ()

    def serve(self, chosen: Sequence[CachedFrame]) -> bool:
        """Whether these are the references a target chose."""
        return len(chosen) == len(self.frames) and all(map(operator.is_, chosen, self.frames))


class ReferenceCache(Protocol):
    """Past frames of one stream."""

    def __len__(self) -> int:
        """Number of frames kept."""

    def select(self, stamp_ns: int) -> list[CachedFrame]:
        """References for a target at this time, nearest first; empty when there is no past frame."""

    def add(self, frame: CachedFrame) -> None:
        """Offer the frame as a future reference."""

    def clear(self) -> None:
        """Forget everything."""


class NearestAgeCache:
    """References by age: for each wanted age, the cached frame nearest to it.

    A 10 Hz and a 60 Hz camera both see the motion the model was trained with, and a computer that manages
    2 Hz still gets the frames it has. Frames closer together than a fraction of the smallest age are not
    kept, so the number of states is bounded whatever the rate.

    Args:
        ages_s: wanted ages (s), > 0.

    Raises:
        ConfigError: an age is not positive.
    """

    FRAMES_PER_AGE = 4.5
    """Kept frames in the smallest age, at most. With ages from 0.2 s on, no usual camera rate lies on the limit,
    where jitter would decide which frames are kept."""

    def __init__(self, ages_s: Sequence[float]) -> None:
        if not all(age > 0 and math.isfinite(age) for age in ages_s):
            raise ConfigError(f"reference ages are {list(ages_s)}; they must be positive numbers of seconds")
        self._ages_ns = [round(age * NS_PER_S) for age in ages_s]
        self._oldest_age_ns = max(self._ages_ns, default=0)
        self._spacing_ns = min(self._ages_ns, default=0) / self.FRAMES_PER_AGE
        self._frames: deque[CachedFrame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def select(self, stamp_ns: int) -> list[CachedFrame]:
        if not self._frames:
            return []
        return [min(self._frames, key=lambda f: abs(stamp_ns - f.stamp_ns - age)) for age in self._ages_ns]

    def add(self, frame: CachedFrame) -> None:
        if not self._ages_ns or (self._frames and frame.stamp_ns - self._frames[-1].stamp_ns < self._spacing_ns):
            return
        self._frames.append(frame)
        # One frame past the largest age stays: it may be nearest to it.
        while len(self._frames) > 1 and frame.stamp_ns - self._frames[1].stamp_ns >= self._oldest_age_ns:
            self._frames.popleft()

    def clear(self) -> None:
        self._frames.clear()


class OffsetCache:
    """References by frame count, as data-set protocols ask: t-3 and t-6, clamped at the start of the stream.

    Args:
        offsets: frames before the target, > 0, nearest first.

    Raises:
        ConfigError: an offset is not positive.
    """

    def __init__(self, offsets: Sequence[int]) -> None:
        if not all(offset > 0 for offset in offsets):
            raise ConfigError(f"reference offsets are {list(offsets)}; they must be positive frame counts")
        self._offsets = tuple(offsets)
        self._frames: deque[CachedFrame] = deque(maxlen=max(offsets, default=0))

    def __len__(self) -> int:
        return len(self._frames)

    def select(self, stamp_ns: int) -> list[CachedFrame]:
        if not self._frames:
            return []
        return [self._frames[-min(offset, len(self._frames))] for offset in self._offsets]

    def add(self, frame: CachedFrame) -> None:
        self._frames.append(frame)

    def clear(self) -> None:
        self._frames.clear()
