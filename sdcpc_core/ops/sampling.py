"""Bilinear sampling of token maps at arbitrary points, as weighted sums over rows of a table.

``embedding_bag`` reads whole channel vectors and adds them up in one pass, so that their bilinear corners are never
stored; on the CPU it is several times faster than ``grid_sample``.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from sdcpc_core.ops.features import at_least_float32


class Corners(NamedTuple):
    """The four tokens around each sampled point.

    Attributes:
        indices: rows of the flattened token map, (B, ..., 4) int64.
        weights: bilinear weights, 0 for tokens outside the map, (B, ..., 4) float32 or float64.
    """

    indices: Tensor
    weights: Tensor


def bilinear_corners(points: Tensor, size_hw: tuple[int, int]) -> Corners:
    """Find the tokens and weights that interpolate a map at the given points.

    Args:
        points: (B, ..., 2) x, y in tokens; (0, 0) is the centre of the first token. A point that is not finite lies
            outside.
        size_hw: height and width of the map in tokens.
    """
    height, width = size_hw
    points = at_least_float32(points)
    floor = points.floor()
    fraction = points - floor
    x0, y0 = floor.unbind(-1)
    right, below = fraction.unbind(-1)
    left, above = 1 - right, 1 - below
    x = torch.stack((x0, x0 + 1, x0, x0 + 1), -1)
    y = torch.stack((y0, y0, y0 + 1, y0 + 1), -1)
    weights = torch.stack((left * above, right * above, left * below, right * below), -1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # Chosen, not multiplied: what lies outside may be infinite, and no number to take an index of.
    weights = torch.where(inside, weights, 0)
    indices = torch.where(inside, y * width + x, 0).long()
    batch_start = torch.arange(points.shape[0], device=points.device) * (height * width)
    return Corners(indices + batch_start.view(-1, *[1] * (points.ndim - 1)), weights)


def weighted_rows(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Sum table rows: ``out[n] = sum_j weights[n, j] * table[indices[n, j]]``.

    Args:
        table: (R, C).
        indices: (N, J) int64.
        weights: (N, J).

    Returns:
        (N, C), at least float32, also under autocast: bf16 sums drift.
    """
    table = at_least_float32(table)
    weights = weights.to(table.dtype)
    if torch.is_grad_enabled() and (table.requires_grad or weights.requires_grad):
        return _WeightedRows.apply(table, indices, weights)
    return _sum_rows(table, indices, weights)


def _sum_rows(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum")


class _WeightedRows(torch.autograd.Function):
    """``weighted_rows`` whose gradient of the table is again a weighted sum of rows: of those of the output's gradient.

    PyTorch's own backward sorts 64-bit indices on the CPU, which takes longer than all the rest of it.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, indices, weights)
        return _sum_rows(table, indices, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, indices, weights = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_table = of_weights = None
        if ctx.needs_input_grad[0]:
            # For every row of the table, the places where it is read.
            places = indices.flatten().int().argsort()
            start = torch.bincount(indices.flatten(), minlength=len(table)).cumsum(0).roll(1)
            start[0] = 0
            of_table = F.embedding_bag(
                places // indices.shape[1],
                gradient,
                start,
                per_sample_weights=weights.flatten()[places],
                mode="sum",
            )
        if ctx.needs_input_grad[2]:
            with torch.enable_grad():
                weights = weights.detach().requires_grad_()
                (of_weights,) = torch.autograd.grad(_sum_rows(table.detach(), indices, weights), weights, gradient)
        return of_table, None, of_weights
