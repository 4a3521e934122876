"""Bilinear upsampling and decision in one step: K x H x W floats are never stored."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.ops.kernels import takes

_ELEMENTS_AT_ONCE = 2**18
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
    """Define ``upsample_argmax``, which runs it where there is no kernel.

    The pixels between four neighbouring tokens are a cell. Where the four agree on a class, so do all pixels between
    them; only the other cells are mixed, unless the confidence is asked for.
    """
    batch, num_classes, *tokens_hw = logits.shape
    # No number wins over all, as in ``max``; half of the greatest, so that sums of it stay numbers.
    greatest = torch.finfo(torch.float32).max / 2
    logits = logits.float().nan_to_num(nan=greatest, posinf=greatest, neginf=-greatest)
    # One more token all around, as the pixels beyond the outer ones lie in cells, too.
    tokens = F.pad(logits, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)
    corners, tokens = _corners(tokens[..., 0]), tokens.reshape(-1, num_classes)
    down, across = (_divided(*lengths, logits.device) for lengths in zip(tokens_hw, size_hw, strict=True))
    lanes_hw = down.shares.shape[-1], across.shares.shape[-1]
    cells_hw, num_lanes = (len(down.shares), len(across.shares)), lanes_hw[0] * lanes_hw[1]

    best = tokens.max(1).indices[corners]
    labels = best[:, :1].to(torch.uint8 if num_classes <= 256 else torch.int32).repeat(1, num_lanes)
    confidence = torch.empty_like(labels, dtype=torch.uint8) if with_confidence else None
    mixed = torch.arange(len(best), device=logits.device)
    if not with_confidence:
        mixed = mixed[(best != best[:, :1]).any(1)]
    # The first class is worth most, so that it wins among equals.
    worth = torch.arange(num_classes, 0, -1, dtype=torch.float32, device=logits.device)[:, None]
    # One buffer: fresh memory costs more than what is done with it.
    mixtures = logits.new_empty(max(1, _ELEMENTS_AT_ONCE // (num_classes * num_lanes)), num_classes, num_lanes)
    for cells in mixed.split(len(mixtures)):
        row, column = cells // cells_hw[1] % cells_hw[0], cells % cells_hw[1]
        shares = down.shares[row, :, None, :, None] * across.shares[column, None, :, None]
        mixture = mixtures[: len(cells)]
        torch.bmm(tokens[corners[cells]].mT, shares.view(-1, 4, num_lanes), out=mixture)
        highest = mixture.amax(1, keepdim=True)
        if confidence is not None:
            confidence[cells] = (255 / (mixture - highest).exp_().sum(1)).round_().to(torch.uint8)
        # Floats throughout: PyTorch's CPU code for booleans and indices is several times slower.
        labels[cells] = (num_classes - mixture.eq_(highest).mul_(worth).amax(1)).to(labels.dtype)

    shape = (batch, *cells_hw, *lanes_hw)
    pixels = (slice(None), down.cell[:, None], across.cell, down.lane[:, None], across.lane)
    return Decision(labels.view(shape)[pixels], None if confidence is None else confidence.view(shape)[pixels])


def _corners(token_map: Tensor) -> Tensor:
    """Where the four tokens around each cell of a (B, h, w) map are in the flattened map, (cells, 4)."""
    places = torch.arange(token_map.numel(), device=token_map.device).view(token_map.shape)
    return places.unfold(1, 2, 1).unfold(2, 2, 1).reshape(-1, 4)


class _Divided(NamedTuple):
    """An axis of pixels, divided into the cells between its tokens.

    Attributes:
        cell: of each pixel.
        lane: of each pixel in its cell.
        shares: of the two tokens around a cell in the pixel of each of its lanes, (cells, 2, lanes).
    """

    cell: Tensor
    lane: Tensor
    shares: Tensor


def _divided(num_tokens: int, num_pixels: int, device: torch.device) -> _Divided:
    # In tokens, of which one more was put before the first.
    position = (torch.arange(num_pixels, dtype=torch.float64, device=device) + 0.5) * num_tokens / num_pixels + 0.5
    cell = position.long()
    first = torch.searchsorted(cell, torch.arange(num_tokens + 1, device=device))
    lane = torch.arange(num_pixels, device=device) - first[cell]
    below = torch.zeros(num_tokens + 1, int(lane.max()) + 1, device=device)
    below[cell, lane] = (position - cell).float()
    return _Divided(cell, lane, torch.stack((1 - below, below), 1))
