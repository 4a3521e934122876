"""What is done to features before their products are summed over tokens: made positive, and precise enough."""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_SUM = 1e-6
"""What a sum of products is divided by at least: it vanishes where all features are far below zero."""


def positive(features: Tensor) -> Tensor:
    """``elu(x) + 1``, at least in float32, whose products are never negative."""
    return F.elu(at_least_float32(features)) + 1


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision becomes float32, in which sums over tokens are taken; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
