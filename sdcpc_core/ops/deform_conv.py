"""Sampling and aggregation of the third deformable convolution (DCNv3)."""

from functools import reduce

import torch
from torch import Tensor

from sdcpc_core.ops.kernels import takes, takes_tokens
from sdcpc_core.ops.sampling import bilinear_corners, bordered_rows, weighted_rows


def deformable_aggregation(values: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Sum D bilinearly sampled values per pixel and group, on a square grid bent by offsets.

    Args:
        values: (B, h, w, C).
        offsets: (B, h, w, G, D, 2) x, y in tokens, added to the regular grid; D is a square number.
        weights: (B, h, w, G, D), the modulation.

    Returns:
        (B, h, w, C), at least float32; samples outside the map count as zero.

    Source: InternImage (arXiv 2211.05778), Eq. 2.
    """
    if takes_tokens(values) and takes(offsets) and takes(weights):
        from sdcpc_core.ops import deform_conv_triton

        return deform_conv_triton.deformable_aggregation(values, offsets, weights)
    return plain_deformable_aggregation(values, offsets, weights)


def plain_deformable_aggregation(values: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Define ``deformable_aggregation``, which runs it where there is no kernel."""
    height, width = values.shape[1:3]
    groups, num_points = weights.shape[-2:]
    points = offsets + regular_grid(height, width, num_points, offsets.device)[:, :, None]
    table = bordered_rows(values, groups)
    bags = (-1, num_points)
    sampled = [
        weighted_rows(table, indices.view(bags), (bilinear * weights).view(bags))
        for indices, bilinear in zip(*bilinear_corners(points, (height, width), groups), strict=True)
    ]
    return reduce(torch.add, sampled).view(values.shape)


def regular_grid(height: int, width: int, num_points: int, device: torch.device) -> Tensor:
    """Places of a centred sqrt(P) x sqrt(P) window around each token.

    Returns:
        (h, w, P, 2) float32, x, y in tokens.
    """
    side = round(num_points**0.5)
    window = torch.arange(side, device=device) - (side - 1) / 2
    window_yx = torch.cartesian_prod(window, window)
    token_yx = torch.cartesian_prod(torch.arange(height, device=device), torch.arange(width, device=device))
    return (token_yx.view(height, width, 1, 2) + window_yx).flip(-1)
