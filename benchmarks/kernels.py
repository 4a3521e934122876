"""Every kernel in Triton: checked against float64, timed beside plain torch and the copy speed of the device.

PYTHONPATH=. python benchmarks/kernels.py      on a CUDA device with nothing else to do; needs PyTorch and Triton alone
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.ops.deform_conv import deformable_aggregation, plain_deformable_aggregation, regular_grid
from sdcpc_core.ops.kernels import triton_works
from sdcpc_core.ops.upsample_argmax import plain_upsample_argmax, upsample_argmax
from sdcpc_core.ops.window_attention import plain_window_attention, selective_window_attention

SIZES = {(480, 853): 124, (1024, 2048): 19}
"""Pixels and classes of VSPW and of Cityscapes."""
STRIDE, CHANNELS, POINTS, GROUPS, DCN_POINTS = 8, 128, 4, 8, 9
DTYPES = (torch.float32, torch.bfloat16)
LARGEST_ERROR = 1e-4
"""Of the largest number of an answer or a gradient; a gradient in half precision may be off by its rounding."""
FILLER_BYTES = 2**30
"""Copied before every measurement: empties the cache, and keeps the device busy until the calls are on their way."""


@dataclass(frozen=True)
class Measurement:
    """One pass of one operator.

    Attributes:
        error: against float64, of the largest number there.
        allowed: the largest error.
        traffic: bytes that have to be read or written at least.
    """

    name: str
    error: float
    allowed: float
    traffic: int
    kernel: Callable[[], object]
    plain: Callable[[], object]


def main() -> int:
    """Print a line per operator, pass, size and dtype; exit code 1 where a kernel is wrong, 2 where none can run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="measurements per figure, of which the median is taken")
    runs = parser.parse_args().runs
    if not torch.cuda.is_available() or not triton_works():
        print("needs a CUDA device of compute capability 8.0 or above, Triton and a C compiler", file=sys.stderr)
        return 2
    copy_speed = _copy_speed(runs)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, copies at {copy_speed / 1e9:.0f} GB/s")
    print(f"{'':58}{'error':>9}{'kernel ms':>11}{'plain ms':>10}{'faster':>8}{'GB/s':>7}{'of copy':>9}")
    wrong = 0
    for measurement in _measurements():
        kernel_ms, plain_ms = _median_ms((measurement.kernel, measurement.plain), runs)
        speed = measurement.traffic / kernel_ms * 1e3
        print(
            f"{measurement.name:58}{measurement.error:9.1e}{kernel_ms:11.4f}{plain_ms:10.4f}"
            f"{plain_ms / kernel_ms:7.1f}x{speed / 1e9:7.0f}{speed / copy_speed:9.0%}",
            flush=True,
        )
        if not measurement.error <= measurement.allowed:
            wrong += 1
            print(f"wrong: more than {measurement.allowed:.1e} off float64", file=sys.stderr)
    return 1 if wrong else 0


def _measurements() -> Iterator[Measurement]:
    for size_hw, num_classes in SIZES.items():
        height, width = (-(-side // STRIDE) for side in size_hw)
        for dtype in DTYPES:
            place = f"{size_hw[0]}x{size_hw[1]} {str(dtype).removeprefix('torch.')}"
            tokens = [torch.randn(1, height, width, CHANNELS, device="cuda", dtype=dtype) for _ in range(3)]
            grid = regular_grid(height, width, POINTS, torch.device("cuda"))[None]
            points = grid + _exact_offsets(grid.shape)
            yield from _passes(
                f"window attention {place}", selective_window_attention, plain_window_attention, [*tokens, points]
            )
            offsets = _exact_offsets((1, height, width, GROUPS, DCN_POINTS, 2))
            modulation = torch.rand(offsets.shape[:-1], device="cuda")
            yield from _passes(
                f"deformable aggregation {place}",
                deformable_aggregation,
                plain_deformable_aggregation,
                [tokens[0], offsets, modulation],
            )
            logits = torch.randn(1, num_classes, height, width, device="cuda", dtype=dtype)
            for with_confidence in (False, True):
                extra = " + confidence" if with_confidence else ""
                yield _decision(f"upsampling, decision{extra} {place}", logits, size_hw, with_confidence)


def _exact_offsets(shape: Sequence[int]) -> Tensor:
    """Up to two tokens either way, of which no sum with a place in the map is rounded: gradients jump at tokens."""
    return (torch.randint(-512, 512, tuple(shape), device="cuda") + 0.5) / 256


def _passes(
    name: str, kernel: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> Iterator[Measurement]:
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    exact_inputs = [tensor.detach().double().requires_grad_() for tensor in inputs]
    answer, plain_answer, exact = kernel(*inputs), plain(*inputs), plain(*exact_inputs)
    of_answer = torch.randn_like(answer)
    gradients = torch.autograd.grad(answer, inputs, of_answer, retain_graph=True)
    exact_gradients = torch.autograd.grad(exact, exact_inputs, of_answer.double())
    errors = [_relative_error(*pair) for pair in zip(gradients, exact_gradients, strict=True)]
    yield Measurement(
        f"{name} forward",
        _relative_error(answer, exact),
        LARGEST_ERROR,
        _num_bytes(*inputs, answer),
        partial(_without_gradients, kernel, inputs),
        partial(_without_gradients, plain, inputs),
    )
    yield Measurement(
        f"{name} backward",
        max(errors),
        max(LARGEST_ERROR, *(torch.finfo(tensor.dtype).eps for tensor in inputs)),
        _num_bytes(*inputs, answer, of_answer, *gradients),
        partial(torch.autograd.grad, answer, inputs, of_answer, retain_graph=True),
        partial(torch.autograd.grad, plain_answer, inputs, of_answer, retain_graph=True),
    )


def _decision(name: str, logits: Tensor, size_hw: tuple[int, int], with_confidence: bool) -> Measurement:
    decide, plain = (
        partial(version, logits, size_hw, with_confidence=with_confidence)
        for version in (upsample_argmax, plain_upsample_argmax)
    )
    decision = decide()
    exact = F.interpolate(logits.double(), size_hw, mode="bilinear", align_corners=False)
    # How much more the best class has than the one chosen: rounding may turn what is all but a tie.
    missed = exact.amax(1) - exact.gather(1, decision.label_map[:, None].long())[:, 0]
    error = (missed.max() / exact.abs().max()).item()
    if decision.confidence is not None:
        confidence = exact.softmax(1).amax(1) * 255
        # Beyond the rounding to a whole number, of 255.
        error = max(error, (((decision.confidence - confidence).abs() - 0.5).max() / 255).item())
    results = [tensor for tensor in decision if tensor is not None]
    return Measurement(name, error, LARGEST_ERROR, _num_bytes(logits, *results), decide, plain)


def _without_gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    with torch.no_grad():
        function(*inputs)


def _relative_error(result: Tensor, exact: Tensor) -> float:
    return ((result - exact).abs().max() / exact.abs().max()).item()


def _num_bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _copy_speed(runs: int) -> float:
    """Bytes read and written per second by the device's own copy."""
    source = torch.empty(FILLER_BYTES, dtype=torch.uint8, device="cuda")
    copy = torch.empty_like(source)
    (copy_ms,) = _median_ms((lambda: copy.copy_(source),), runs)
    return 2 * FILLER_BYTES / copy_ms * 1e3


def _median_ms(functions: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """Medians of interleaved measurements: what slows the device down for a while slows all of them."""
    source = torch.empty(FILLER_BYTES, dtype=torch.uint8, device="cuda")
    filler = torch.empty_like(source)
    for function in functions * 3:
        function()
    times_ms: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for function, times in zip(functions, times_ms, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            filler.copy_(source)
            start.record()
            function()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
    return [median(times) for times in times_ms]


if __name__ == "__main__":
    sys.exit(main())
