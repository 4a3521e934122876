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
    """The four tokens around each sampled point, one tensor for each of them: in one they would take twice the time.

    Attributes:
        indices: rows of ``bordered_rows``, each (B, ...) int32.
        weights: bilinear weights, each (B, ...) float32 or float64.
    """

    indices: tuple[Tensor, Tensor, Tensor, Tensor]
    weights: tuple[Tensor, Tensor, Tensor, Tensor]


def bilinear_corners(points: Tensor, size_hw: tuple[int, int], groups: int = 1) -> Corners:
    """Find the tokens and weights that interpolate a map at the given points.

    Args:
        points: (B, ..., 2) x, y in tokens; (0, 0) is the centre of the first token. A point that is not finite lies
            outside. With groups (B, ..., G, D, 2).
        size_hw: height and width of the map in tokens.
        groups: into which the channels of each token are cut; every group has points of its own.
    """
    height, width = size_hw
    x, y = at_least_float32(points).unbind(-1)
    (left, right_share), (top, lower_share) = _before(x, width), _before(y, height)
    row = width + 2
    # One more in both directions, for the border.
    first = (top * row + left + (row + 1)).int()
    map_start = torch.arange(len(points), dtype=torch.int32, device=points.device) * ((height + 2) * row)
    first = first + map_start.view(-1, *[1] * (x.ndim - 1))
    if groups > 1:
        first = first * groups + torch.arange(groups, dtype=torch.int32, device=points.device)[:, None]
        row *= groups
    left_share, upper_share = 1 - right_share, 1 - lower_share
    return Corners(
        (first, first + groups, first + row, first + (row + groups)),
        (upper_share * left_share, upper_share * right_share, lower_share * left_share, lower_share * right_share),
    )


def _before(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    # The token before each place along one side, and how far it is from there to the next. What lies off the map is
    # moved onto the border.
    places = places.nan_to_num(nan=-1).clamp(-1, size)
    before = places.detach().floor().clamp(max=size - 1)
    return before, places - before


def bordered_rows(token_map: Tensor, groups: int = 1) -> Tensor:
    """The table that ``bilinear_corners`` indexes: the tokens of maps with a border of zeros, whatever is outside.

    Args:
        token_map: (B, h, w, C).
        groups: rows that each token is cut into, one after the other.

    Returns:
        (B (h + 2) (w + 2) G, C / G).
    """
    return F.pad(token_map, (0, 0, 1, 1, 1, 1)).reshape(-1, token_map.shape[-1] // groups)


def weighted_rows(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Sum table rows: ``out[n] = sum_j weights[n, j] * table[indices[n, j]]``.

    Args:
        table: (R, C).
        indices: (N, J) int32 or int64.
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
