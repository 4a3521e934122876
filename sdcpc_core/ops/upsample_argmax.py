"""Bilinear upsampling and decision in one step: K x H x W floats are never stored."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.ops.kernels import takes

_BAND_ELEMENTS = 2**21
"""Upsampled logits held at a time, about what a processor's cache holds."""


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
    """Define ``upsample_argmax``, which runs it where there is no kernel: a band of rows at a time."""
    batch, num_classes, _, _ = logits.shape
    height, width = size_hw
    logits = logits.float()
    label_map = logits.new_empty((batch, height, width), dtype=torch.uint8 if num_classes <= 256 else torch.int32)
    confidence = logits.new_empty((batch, height, width), dtype=torch.uint8) if with_confidence else None
    rows = max(1, _BAND_ELEMENTS // (num_classes * width))
    upper, lower, fraction = _row_neighbours(logits.shape[2], height, logits.device)
    for start in range(0, height, rows):
        band = slice(start, min(start + rows, height))
        tall = torch.lerp(logits[:, :, upper[band]], logits[:, :, lower[band]], fraction[band, None])
        wide = F.interpolate(tall, (tall.shape[2], width), mode="bilinear", align_corners=False)
        best = wide.max(dim=1)  # on the CPU twice as fast as argmax
        label_map[:, band] = best.indices
        if confidence is not None:
            probability = (best.values - wide.logsumexp(dim=1)).exp()
            confidence[:, band] = (probability * 255).round()
    return Decision(label_map, confidence)


def _row_neighbours(rows_in: int, rows_out: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    centre = (torch.arange(rows_out, device=device) + 0.5) * (rows_in / rows_out) - 0.5
    centre = centre.clamp(0, rows_in - 1)
    upper = centre.long()
    return upper, (upper + 1).clamp(max=rows_in - 1), centre - upper
