"""Layers that the static and the dynamic alignment share."""

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Pre-norm feed-forward network, four times as wide inside, residual, (..., C) -> (..., C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = mlp(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.mlp(self.norm(tokens))


def mlp(channels: int) -> nn.Sequential:
    """Two-layer perceptron, four times as wide inside."""
    return nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))


def positive(features: Tensor) -> Tensor:
    """The feature map of linear attention, ``elu(x) + 1`` in float32, whose products are never negative."""
    return F.elu(features.float()) + 1


SMALLEST_SUM = 1e-6
"""What a sum of such products is divided by at least: it vanishes where all features are far below zero."""
