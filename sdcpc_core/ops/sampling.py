"""Bilinear sampling of token maps at arbitrary points, as weighted sums over rows of a table.

``embedding_bag`` reads whole channel vectors and adds them up in one pass, so nothing of size
(tokens x points x channels) is ever stored; on the CPU it is several times faster than ``grid_sample``.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Corners(NamedTuple):
    """The four tokens around each sampled point.

    Attributes:
        indices: rows of the flattened token map, (B, ..., 4) int64.
        weights: bilinear weights, 0 for tokens outside the map, (B, ..., 4) float32.
    """

    indices: Tensor
    weights: Tensor


def bilinear_corners(points: Tensor, size_hw: tuple[int, int]) -> Corners:
    """Find the tokens and weights that interpolate a map at the given points.

    Args:
        points: (B, ..., 2) x, y in tokens; (0, 0) is the centre of the first token.
        size_hw: height and width of the map in tokens.
    """
    height, width = size_hw
    points = points.float()
    floor = points.floor()
    fraction = points - floor
    x0, y0 = floor.unbind(-1)
    right, below = fraction.unbind(-1)
    left, above = 1 - right, 1 - below
    x = torch.stack((x0, x0 + 1, x0, x0 + 1), -1)
    y = torch.stack((y0, y0, y0 + 1, y0 + 1), -1)
    weights = torch.stack((left * above, right * above, left * below, right * below), -1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    indices = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
    batch_start = torch.arange(points.shape[0], device=points.device) * (height * width)
    return Corners(indices + batch_start.view(-1, *[1] * (points.ndim - 1)), weights * inside)


def weighted_rows(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Sum table rows: ``out[n] = sum_j weights[n, j] * table[indices[n, j]]``.

    Args:
        table: (R, C).
        indices: (N, J) int64.
        weights: (N, J).

    Returns:
        (N, C) float32, also under autocast: bf16 sums drift.
    """
    return F.embedding_bag(indices, table.float(), per_sample_weights=weights.float(), mode="sum")
