"""Where the time of a step goes, without making the device wait for the clock."""

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepTimings:
    """Durations of a step and of its parts (ms).

    On CUDA the parts are timed on the device, which works on while the host goes ahead. What no part shows, such as
    the rest of a preparation that the device had first to finish, is in the total.

    Attributes:
        upload_ms: copy to the device.
        encode_ms: resizing, and what depends on the frame alone.
        references_ms: alignment of the references with each other; about 0 where that was done before.
        align_ms: alignment of the frame with the references, and the head.
        decode_ms: upsampling, decision, and copy to the host.
        total_ms: from the frame to its labels in the host's memory, by the host's clock.
    """

    upload_ms: float
    encode_ms: float
    references_ms: float
    align_ms: float
    decode_ms: float
    total_ms: float


class PhaseClock:
    """Marks the ends of the five phases of a step; starts when it is made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_cuda = device.type == "cuda"
        self._began_s = time.perf_counter()
        self._marks = [self._now()]

    def mark(self) -> None:
        """End a phase."""
        self._marks.append(self._now())

    def read(self) -> StepTimings:
        """Give the durations of the phases that ended; on CUDA this waits for the last of them."""
        if self._on_cuda:
            self._marks[-1].synchronize()
        pairs = zip(self._marks[:-1], self._marks[1:], strict=True)
        phases_ms = [a.elapsed_time(b) if self._on_cuda else (b - a) * 1e3 for a, b in pairs]
        return StepTimings(*phases_ms, total_ms=(time.perf_counter() - self._began_s) * 1e3)

    def _now(self) -> "float | torch.cuda.Event":
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
