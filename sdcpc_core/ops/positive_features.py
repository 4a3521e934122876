"""Positive features: the map that linear attention and Eq. (2) put on queries and keys."""

import torch.nn.functional as F
from torch import Tensor

SMALLEST_SUM = 1e-6
"""What a sum of products is divided by at least: it vanishes where all features are far below zero."""


def positive(features: Tensor) -> Tensor:
    """``elu(x) + 1`` in float32, whose products are never negative."""
    return F.elu(features.float()) + 1
