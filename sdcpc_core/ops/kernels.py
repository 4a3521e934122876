"""Which version of an operator runs: its definition in plain torch, or one kernel in Triton."""

import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

MAX_CHANNELS, CHANNEL_MULTIPLE = 256, 16
"""Token widths that the kernels take."""
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
OLDEST_CAPABILITY = 80
"""Compute capability 8.0, Ampere, the first generation with bfloat16."""


def takes_tokens(*token_maps: Tensor) -> bool:
    """Whether a kernel can read token maps (..., C): where it can, its answer is the definition's up to rounding."""
    channels = token_maps[0].shape[-1]
    fits = channels % CHANNEL_MULTIPLE == 0 and channels <= MAX_CHANNELS
    return fits and all(takes(token_map) for token_map in token_maps)


def takes(tensor: Tensor) -> bool:
    """Whether a kernel can read a tensor: one on CUDA, of at most 32 bits, where Triton works."""
    return tensor.is_cuda and tensor.dtype in FLOATS and triton_works()


def triton_works() -> bool:
    """Whether kernels can be built: Triton is there, and finds a C compiler and a device it knows."""
    return _start_triton()


# As torch.compiler.assume_constant_result does, which imports the compiler: half of the time a robot takes to start.
triton_works._dynamo_marked_constant = True


@cache
def _start_triton() -> bool:
    if find_spec("triton") is None:
        return False
    from triton.runtime import driver

    try:
        target = driver.active.get_current_target()
    except Exception as error:  # whatever the compiler, the linker or the driver says
        warnings.warn(f"CUDA runs in plain torch, without the faster kernels: {error}", stacklevel=2)
        return False
    return target.backend == "cuda" and target.arch >= OLDEST_CAPABILITY
