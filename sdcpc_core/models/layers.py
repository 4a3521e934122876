"""Layers that several parts of the networks are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcpc_core.ops.fused_layers import linear, linear_gelu


class Linear(nn.Linear):
    """``nn.Linear``, faster at inference on a CPU."""

    def forward(self, tokens: Tensor) -> Tensor:
        return linear(tokens, self)


class MLP(nn.Sequential):
    """Two-layer perceptron, four times as wide inside, (..., C) -> (..., C)."""

    def __init__(self, channels: int) -> None:
        super().__init__(Linear(channels, 4 * channels), nn.GELU(), Linear(4 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        widen, _, narrow = self
        return narrow(linear_gelu(tokens, widen))


class FeedForward(nn.Module):
    """Pre-norm feed-forward network, residual, (..., C) -> (..., C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = MLP(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.mlp(self.norm(tokens))


class LinearFuse(nn.Module):
    """1x1 convolution, batch norm and ReLU, (B, C, h, w) -> (B, C', h, w)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(features)))


class DropPath(nn.Module):
    """Skip a residual branch at random, per sample, in training.

    Args:
        rate: share of the samples that skip it.
        rescale: whether the others have it 1 / (1 - rate) times, so that its mean stays.
    """

    def __init__(self, rate: float, *, rescale: bool = True) -> None:
        super().__init__()
        self.rate, self.rescale = rate, rescale

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        mask = torch.empty(branch.shape[0], 1, 1, 1, device=branch.device).bernoulli_(keep)
        return branch * (mask / keep if self.rescale else mask).to(branch.dtype)
