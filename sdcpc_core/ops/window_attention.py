"""Selective window cross-attention, Eq. (2) of SD-CPC: each pixel attends to P points of another frame."""

from typing import Literal

import torch
from torch import Tensor

from sdcpc_core.ops.features import SMALLEST_SUM, at_least_float32, positive
from sdcpc_core.ops.kernels import takes, takes_tokens
from sdcpc_core.ops.sampling import bilinear_corners, bordered_rows, weighted_rows

Weighting = Literal["positive", "raw"]
"""What Eq. (2) multiplies: ``elu(x) + 1`` of query and key, or query and key as they are."""


def selective_window_attention(
    query: Tensor, key: Tensor, value: Tensor, points: Tensor, weighting: Weighting = "positive"
) -> Tensor:
    """Aggregate the values at P points per pixel, weighted by query-key products over their sum.

    Args:
        query: (B, h, w, C).
        key: (B, h', w', C); sampled bilinearly, after the map of ``weighting``, zero outside the frame.
        value: (B, h', w', C).
        points: (B, h, w, P, 2) x, y in tokens of the reference map.
        weighting: ``"positive"`` makes a weighted mean of it. ``"raw"`` is the equation as printed: weights of any
            sign, and of any size where the products nearly cancel.

    Returns:
        (B, h, w, C), at least float32. A pixel whose products are all zero gets zeros, as where its points all lie
        outside the reference.

    Source: SD-CPC (arXiv 2412.08034), Eq. 2. Differences: positive features by default; points outside the
    reference have a zero key, hence no weight; a sum of zero divides nothing.
    """
    if takes_tokens(query, key, value) and takes(points):
        from sdcpc_core.ops.window_attention_triton import window_attention

        return window_attention(query, key, value, points, weighting == "positive")[0]
    return plain_window_attention(query, key, value, points, weighting)


def plain_window_attention(
    query: Tensor, key: Tensor, value: Tensor, points: Tensor, weighting: Weighting = "positive"
) -> Tensor:
    """Define ``selective_window_attention``, which runs it where there is no kernel."""
    if weighting == "positive":
        query, key = positive(query), positive(key)
    channels, num_points = query.shape[-1], points.shape[-2]
    corners = bilinear_corners(points, (key.shape[1], key.shape[2]))
    indices, bilinear = (torch.stack(of_corners, -1).view(-1, num_points, 4) for of_corners in corners)
    keys = weighted_rows(bordered_rows(key), indices.view(-1, 4), bilinear.view(-1, 4))
    queries = at_least_float32(query.reshape(-1, channels))
    with torch.autocast(query.device.type, enabled=False):
        products = torch.einsum("nc,npc->np", queries, keys.view(-1, num_points, channels))
    total = products.sum(-1, keepdim=True)
    divisor = total.clamp_min(SMALLEST_SUM) if weighting == "positive" else total.masked_fill(total == 0, 1)
    weights = (products / divisor).unsqueeze(-1) * bilinear
    return weighted_rows(bordered_rows(value), indices.flatten(1), weights.flatten(1)).view(query.shape)
