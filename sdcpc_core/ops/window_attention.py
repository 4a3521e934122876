"""Selective window cross-attention, Eq. (2) of SD-CPC: each pixel attends to P points of another frame."""

from typing import Literal

import torch
from torch import Tensor

from sdcpc_core.ops.features import SMALLEST_SUM, at_least_float32, positive
from sdcpc_core.ops.kernels import takes, takes_tokens
from sdcpc_core.ops.sampling import bilinear_corners, weighted_rows

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
    channels = query.shape[-1]
    indices, bilinear = bilinear_corners(points, (key.shape[1], key.shape[2]))
    num_points = points.shape[-2]
    keys = weighted_rows(key.reshape(-1, channels), indices.view(-1, 4), bilinear.view(-1, 4))
    queries = at_least_float32(query.reshape(-1, channels))
    with torch.autocast(query.device.type, enabled=False):
        products = torch.einsum("nc,npc->np", queries, keys.view(-1, num_points, channels))
    total = products.sum(-1, keepdim=True)
    divisor = total.clamp_min(SMALLEST_SUM) if weighting == "positive" else total.masked_fill(total == 0, 1)
    attention = products / divisor
    weights = attention.unsqueeze(-1) * bilinear.view(-1, num_points, 4)
    sampled = weighted_rows(value.reshape(-1, channels), indices.view(-1, num_points * 4), weights.flatten(1))
    return sampled.view(query.shape)
