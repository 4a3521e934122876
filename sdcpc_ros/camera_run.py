"""What became of the frames of one camera, whoever answered them: offline, simulated or live."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdcpc_core.report import latency_ms
from sdcpc_ros.conversions import NS_PER_S


@dataclass
class CameraRun:
    """Frames and answers, each frame known by its time of recording (ns), which a few may share.

    Attributes:
        sent_ns: frames that could be answered, in the order they came.
        answers: for each frame that was answered, the frame, and how long its answer took from its arrival (ms).
        bad_frames: frames that are no usable picture, by cause.
        lag_ms: live, how long after its time each frame was sent (ms); grows where this computer is too busy.
    """

    sent_ns: list[int] = field(default_factory=list)
    answers: list[tuple[int, float]] = field(default_factory=list)
    bad_frames: Counter[str] = field(default_factory=Counter)
    lag_ms: list[float] = field(default_factory=list)

    @property
    def rate_hz(self) -> float:
        """Mean rate at which the frames were recorded; 1 for a single frame."""
        seconds = (self.sent_ns[-1] - self.sent_ns[0]) / NS_PER_S
        return (len(self.sent_ns) - 1) / seconds if seconds > 0 else 1.0

    @property
    def sent(self) -> int:
        """Frames that could be answered."""
        return len(self.sent_ns)

    @property
    def answered(self) -> int:
        """Frames with an answer of their own."""
        return len(self.answers)

    @property
    def dropped(self) -> int:
        """Frames without one; the newest is taken, and those there is no time for are left."""
        return self.sent - self.answered

    def report(self) -> dict[str, Any]:
        """The run as JSON values; ``jitter_ms`` is the mean change of latency from one answer to the next."""
        latencies = np.array([latency for _, latency in sorted(self.answers)])
        percents = {"p25": 25, "median": 50, "p75": 75, "p99": 99, "max": 100}
        spread = np.percentile(latencies, list(percents.values())) if latencies.size else [None] * len(percents)
        return {
            "frames_sent": self.sent,
            "frames_answered": self.answered,
            "frames_dropped": self.dropped,
            "bad_frames": dict(self.bad_frames),
            "rate_hz": round(self.rate_hz, 3),
            "latency_ms": {
                name: None if value is None else round(float(value), 2)
                for name, value in zip(percents, spread, strict=True)
            },
            "jitter_ms": round(float(np.abs(np.diff(latencies)).mean()), 2) if latencies.size > 1 else None,
            **({"player_lag_ms": latency_ms(self.lag_ms)} if self.lag_ms else {}),
        }
