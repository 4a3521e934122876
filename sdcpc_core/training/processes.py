"""Processes that train together, each on its share of a batch; one alone has the whole."""

import torch
import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(share: Tensor) -> Tensor:
    """Sum of every process's tensor, the same in each; without gradient. All processes must call this."""
    total = share.detach().clone(memory_format=torch.contiguous_format)
    if num_processes() > 1:
        dist.all_reduce(total)
    return total
