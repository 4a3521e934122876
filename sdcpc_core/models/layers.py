"""Layers that the static and the dynamic alignment share."""

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
