"""Damage to the features of frames, which others of their clip can make good."""

import torch
from torch import Tensor

RECTANGLES = 3
"""In each damaged map; they may overlap."""
SMALLEST_SIDE = 3
"""Of a rectangle (tokens): neighbours would fill in what is smaller."""
GRAINS = (1, 2, 4)
"""Sides of a grain of noise (tokens)."""


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


def noisy(static: Tensor, largest: float) -> Tensor:
    """Add noise to maps, each as strong as is drawn for it, in grains of a size drawn for all.

    Rectangles teach an alignment to look at references; noise everywhere, to average what it sees. Grains of several
    tokens look the same all around, so that only another frame tells what they hide. All draws come from torch's global
    generator.

    Args:
        static: S of frames, (B, h, w, C), left as it is.
        largest: deviation of the noise, in deviations of each channel of its map; drawn from 0 to this.

    Returns:
        (B, h, w, C).
    """
    batch, height, width, channels = static.shape
    grain = GRAINS[torch.randint(len(GRAINS), ())]
    noise = torch.randn(batch, -(-height // grain), -(-width // grain), channels, device=static.device)
    noise = noise.repeat_interleave(grain, 1).repeat_interleave(grain, 2)[:, :height, :width]
    strength = largest * torch.rand(batch, 1, 1, 1, device=static.device)
    return static + strength * noise * static.detach().std((1, 2), correction=0, keepdim=True)


def _interval(side: int) -> slice:
    length = int(torch.randint(min(SMALLEST_SIDE, side), max(side // 2, SMALLEST_SIDE) + 1, ()))
    start = int(torch.randint(max(side - length, 0) + 1, ()))
    return slice(start, start + length)
