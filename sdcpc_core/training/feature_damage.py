"""Damage to features of a target frame, which only its references can make good."""

import torch
from torch import Tensor

RECTANGLES = 3
"""In each damaged map; they may overlap."""
SMALLEST_SIDE = 3
"""Of a rectangle (tokens): neighbours would fill in what is smaller."""


def damaged(static: Tensor, share: float) -> Tensor:
    """Replace rectangles of some maps by noise, or drown them in it.

    A target that shows everything teaches an alignment nothing: what its references add is not needed. All draws come
    from torch's global generator.

    Args:
        static: S of the targets, (B, h, w, C), left as it is.
        share: of the maps that are damaged, 0..1.

    Returns:
        (B, h, w, C); rectangles of up to half a side in each direction hold noise of the map's own mean and deviation
        per channel, in place of the features or added to them.
    """
    result = static.clone()
    for index in torch.nonzero(torch.rand(len(static)) < share).flatten().tolist():
        features = static[index].detach()
        mean, deviation = features.mean((0, 1)), features.std((0, 1), correction=0)
        for _ in range(RECTANGLES):
            rows, columns = (_interval(side) for side in features.shape[:2])
            noise = torch.randn_like(features[rows, columns]) * deviation
            covered = result[index, rows, columns]
            result[index, rows, columns] = noise + (mean if torch.rand(()) < 0.5 else covered.clone())
    return result


def _interval(side: int) -> slice:
    length = int(torch.randint(min(SMALLEST_SIDE, side), max(side // 2, SMALLEST_SIDE) + 1, ()))
    start = int(torch.randint(max(side - length, 0) + 1, ()))
    return slice(start, start + length)
