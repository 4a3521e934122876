"""Bilinear upsampling and decision in one step: K x H x W floats are never stored."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.ops.kernels import takes

_TILE_ELEMENTS = 2**19
"""Upsampled logits held at a time, about what the cache next to a processor core holds."""


class Decision(NamedTuple):
    """Labels of every pixel.

    Attributes:
        label_map: (B, H, W) uint8, int32 above 256 classes.
        confidence: softmax probability of the label times 255, (B, H, W) uint8; None when not asked for.
    """

    label_map: Tensor
    confidence: Tensor | None


def upsample_argmax(logits: Tensor, size_hw: tuple[int, int], *, with_confidence: bool = False) -> Decision:
    """Upsample logits bilinearly (``align_corners=False``) and take the best class of every pixel.

    Args:
        logits: (B, K, h, w); of equal classes the first is the best.
        size_hw: height and width of the result in pixels.
        with_confidence: also compute the probability of the label.
    """
    if takes(logits):
        from sdcpc_core.ops import upsample_argmax_triton

        label_map, confidence = upsample_argmax_triton.upsample_argmax(logits, *size_hw, with_confidence)
        return Decision(label_map, confidence if with_confidence else None)
    return plain_upsample_argmax(logits, size_hw, with_confidence=with_confidence)


def plain_upsample_argmax(logits: Tensor, size_hw: tuple[int, int], *, with_confidence: bool = False) -> Decision:
    """Define ``upsample_argmax``, which runs it where there is no kernel: a tile after the other."""
    batch, num_classes, rows_in, _ = logits.shape
    height, width = size_hw
    # No number wins over all, as in ``max``; it must not spread to classes beside it.
    logits = logits.float().nan_to_num(nan=torch.finfo(torch.float32).max).contiguous()
    label_map = logits.new_empty((batch, height, width), dtype=torch.uint8 if num_classes <= 256 else torch.int32)
    confidence = logits.new_empty((batch, height, width), dtype=torch.uint8) if with_confidence else None
    # The first class is worth most, so that it wins among equals.
    worth = torch.arange(num_classes, 0, -1, dtype=torch.float32, device=logits.device).view(-1, 1, 1)
    for rows, upper, fractions in _bands(rows_in, height):
        above, below = (_widened(logits, min(row, rows_in - 1), width) for row in (upper, upper + 1))
        share_below = logits.new_tensor(fractions)[:, None]
        tile_columns = max(1, _TILE_ELEMENTS // (batch * num_classes * len(fractions)))
        for start in range(0, width, tile_columns):
            columns = slice(start, start + tile_columns)
            tile = torch.lerp(above[..., columns], below[..., columns], share_below)
            best = tile.amax(1, keepdim=True)
            if confidence is not None:
                odds = (tile - best).exp_().sum(1)
                confidence[:, rows, columns] = (255 / odds).round_()
            # Floats throughout: PyTorch's CPU code for booleans and indices is several times slower.
            label_map[:, rows, columns] = num_classes - tile.eq_(best).mul_(worth).amax(1)
    return Decision(label_map, confidence)


def _bands(rows_in: int, rows_out: int) -> Iterator[tuple[slice, int, list[float]]]:
    """Rows of the result between the same two rows of logits: which, the upper of the two, how far below it each is."""
    centres = [min(max((row + 0.5) * rows_in / rows_out - 0.5, 0), rows_in - 1) for row in range(rows_out)]
    for upper, group in groupby(range(rows_out), lambda row: int(centres[row])):
        band = list(group)
        yield slice(band[0], band[-1] + 1), upper, [centres[row] - upper for row in band]


def _widened(logits: Tensor, row: int, width: int) -> Tensor:
    return F.interpolate(logits[:, :, row, None], (1, width), mode="bilinear", align_corners=False)
