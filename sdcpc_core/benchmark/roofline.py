"""What a device can do at best, measured: multiply-accumulates, copies, uploads and downloads per second."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FILLER_BYTES = 2**30
FILLERS = 12
"""Copies that keep a CUDA device busy, some milliseconds, while the calls to be timed are on their way."""
RUNS = 10


@dataclass(frozen=True)
class Roofline:
    """The best a device does at one precision.

    Attributes:
        macs_per_s: of a large matrix product, as PyTorch is set: on CUDA, convolutions in float32 may do better,
            for they may take TensorFloat-32.
        copied_bytes_per_s: read and written by a copy on the device.
        uploaded_bytes_per_s: from pinned memory of the host; None on the CPU, where nothing is to be moved.
        downloaded_bytes_per_s: to it.
    """

    macs_per_s: float
    copied_bytes_per_s: float
    uploaded_bytes_per_s: float | None
    downloaded_bytes_per_s: float | None


def measure_roofline(device: torch.device, dtype: torch.dtype) -> Roofline:
    """Measure a device, which takes seconds.

    Args:
        device: the CPU, with as many threads as PyTorch uses, or CUDA.
        dtype: of the products.
    """
    on_cuda = device.type == "cuda"
    clock = DeviceClock(device)
    side = 8192 if on_cuda else 1536
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    product_ms = clock.best_ms(lambda: left @ right)
    # Larger than any cache.
    source = torch.ones(2**28 if on_cuda else 2**26, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copied = 2 * _num_bytes(source) / clock.best_ms(lambda: target.copy_(source)) * 1e3
    uploaded = downloaded = None
    if on_cuda:
        host = torch.ones(2**24, dtype=torch.float32, pin_memory=True)
        part = target[: len(host)]
        uploaded = _num_bytes(host) / clock.best_ms(lambda: part.copy_(host, non_blocking=True)) * 1e3
        downloaded = _num_bytes(host) / clock.best_ms(lambda: host.copy_(part, non_blocking=True)) * 1e3
    return Roofline(side**3 / product_ms * 1e3, copied, uploaded, downloaded)


class DeviceClock:
    """Times what a device works, without the time that it waits for the host's calls.

    Args:
        device: the CPU or CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_cuda = device.type == "cuda"
        if self._on_cuda:
            self._filler = torch.zeros(2, FILLER_BYTES, dtype=torch.uint8, device=device)

    def time_ms(self, function: Callable[[], object]) -> float:
        """Duration of a call (ms)."""
        if not self._on_cuda:
            start_s = time.perf_counter()
            function()
            return (time.perf_counter() - start_s) * 1e3
        for _ in range(FILLERS):
            self._filler[0].copy_(self._filler[1])
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(torch.cuda.current_stream(self._device))
        function()
        end.record(torch.cuda.current_stream(self._device))
        end.synchronize()
        return start.elapsed_time(end)

    def best_ms(self, function: Callable[[], object]) -> float:
        """Shortest duration of several calls (ms)."""
        return min(self.time_ms(function) for _ in range(RUNS))


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
