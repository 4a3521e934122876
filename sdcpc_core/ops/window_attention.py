"""Selective window cross-attention, Eq. (2) of SD-CPC: each pixel attends to P points of another frame."""

import torch
from torch import Tensor

from sdcpc_core.ops.sampling import bilinear_corners, weighted_rows

_SMALLEST_SUM = 1e-6


def selective_window_attention(query: Tensor, key: Tensor, value: Tensor, points: Tensor) -> Tensor:
    """Aggregate the values at P points per pixel, weighted by query-key products over their sum.

    Args:
        query: (B, h, w, C), positive.
        key: (B, h', w', C), positive; sampled bilinearly, zero outside the map.
        value: (B, h', w', C).
        points: (B, h, w, P, 2) x, y in tokens of the reference map.

    Returns:
        (B, h, w, C) float32. A pixel whose points all lie outside the reference gets zeros.

    Source: SD-CPC (arXiv 2412.08034), Eq. 2. Differences: query and key are positive (the caller applies
    elu + 1), so that the quotient is a weighted mean; the printed one can divide by zero. Points outside the
    reference have a zero key, hence no weight.
    """
    channels = query.shape[-1]
    indices, bilinear = bilinear_corners(points, (key.shape[1], key.shape[2]))
    num_points = points.shape[-2]
    keys = weighted_rows(key.reshape(-1, channels), indices.view(-1, 4), bilinear.view(-1, 4))
    with torch.autocast(query.device.type, enabled=False):
        products = torch.einsum("nc,npc->np", query.reshape(-1, channels).float(), keys.view(-1, num_points, channels))
    attention = products / products.sum(-1, keepdim=True).clamp_min(_SMALLEST_SUM)
    weights = attention.unsqueeze(-1) * bilinear.view(-1, num_points, 4)
    sampled = weighted_rows(value.reshape(-1, channels), indices.view(-1, num_points * 4), weights.flatten(1))
    return sampled.view(query.shape)
