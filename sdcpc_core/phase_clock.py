"""Where the time of a step goes, without making the device wait for the clock."""

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepTimings:
    """Durations of the parts of one step (ms).

    Attributes:
        upload_ms: copy to the device and resize.
        encode_ms: what depends on the frame alone.
        align_ms: alignment with the references, and the head.
        decode_ms: upsampling, decision, and copy to the host.
    """

    upload_ms: float
    encode_ms: float
    align_ms: float
    decode_ms: float

    @property
    def total_ms(self) -> float:
        """Duration of the whole step (ms)."""
        return self.upload_ms + self.encode_ms + self.align_ms + self.decode_ms


class PhaseClock:
    """Marks the ends of the four phases of a step; starts when it is made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_cuda = device.type == "cuda"
        self._marks = [self._now()]

    def mark(self) -> None:
        """End a phase."""
        self._marks.append(self._now())

    def stop(self) -> StepTimings:
        """End the last phase; on CUDA waits for it."""
        self.mark()
        if self._on_cuda:
            self._marks[-1].synchronize()
        pairs = zip(self._marks[:-1], self._marks[1:], strict=True)
        return StepTimings(*(a.elapsed_time(b) if self._on_cuda else (b - a) * 1e3 for a, b in pairs))

    def _now(self) -> "float | torch.cuda.Event":
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
