"""Bilinear upsampling and decision in one kernel, in Triton: no upsampled logit leaves the registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_PIXELS = 256
NUM_WARPS = 4


@torch.library.custom_op("sdcpc::upsample_argmax", mutates_args=())
def upsample_argmax(logits: Tensor, height: int, width: int, with_confidence: bool) -> tuple[Tensor, Tensor]:
    """``upsample_argmax`` of ``ops.upsample_argmax`` as one kernel.

    Returns:
        Label map and confidence as there; the confidence has no elements where it is not asked for.
    """
    label_map, confidence = _results(logits, height, width, with_confidence)
    if label_map.numel():
        with torch.cuda.device_of(logits):
            _decide[(triton.cdiv(height * width, TILE_PIXELS), len(logits))](
                logits,
                label_map,
                confidence,
                *logits.stride(),
                logits.shape[2],
                logits.shape[3],
                height,
                width,
                logits.shape[2] / height,
                logits.shape[3] / width,
                logits.shape[1],
                with_confidence=with_confidence,
                tile_pixels=TILE_PIXELS,
                num_warps=NUM_WARPS,
            )
    return label_map, confidence


@upsample_argmax.register_fake
def _results(logits: Tensor, height: int, width: int, with_confidence: bool) -> tuple[Tensor, Tensor]:
    batch, num_classes = logits.shape[:2]
    label_map = logits.new_empty((batch, height, width), dtype=torch.uint8 if num_classes <= 256 else torch.int32)
    return label_map, logits.new_empty(label_map.shape if with_confidence else (0,), dtype=torch.uint8)


@triton.jit
def _decide(
    logits,
    label_map,
    confidence,
    image_stride,
    class_stride,
    row_stride,
    column_stride,
    rows_in,
    columns_in,
    height,
    width,
    rows_per_pixel,
    columns_per_pixel,
    num_classes,
    with_confidence: tl.constexpr,
    tile_pixels: tl.constexpr,
):
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * tile_pixels + tl.arange(0, tile_pixels)
    there = pixel < height * width
    upper, lower, below = _neighbours(pixel // width, rows_per_pixel, rows_in)
    left, right, beside = _neighbours(pixel % width, columns_per_pixel, columns_in)
    logits += image * image_stride
    upper_left, upper_right = upper * row_stride + left * column_stride, upper * row_stride + right * column_stride
    lower_left, lower_right = lower * row_stride + left * column_stride, lower * row_stride + right * column_stride
    best = tl.full((tile_pixels,), float("-inf"), tl.float32)
    label = tl.zeros((tile_pixels,), tl.int32)
    odds = tl.zeros((tile_pixels,), tl.float32)
    for this_class in range(num_classes):
        at_left = _between(tl.load(logits + upper_left, mask=there), tl.load(logits + lower_left, mask=there), below)
        at_right = _between(tl.load(logits + upper_right, mask=there), tl.load(logits + lower_right, mask=there), below)
        logit = _between(at_left, at_right, beside)
        # The first of equals wins, and no number wins over all, as in ``max``.
        better = (logit > best) | ((logit != logit) & (best == best))
        if with_confidence:
            # Sum of exp(logit - best) so far.
            odds = tl.where(better, odds * tl.exp(best - logit) + 1, odds + tl.exp(logit - best))
        best = tl.where(better, logit, best)
        label = tl.where(better, this_class, label)
        logits += class_stride
    places = image * height * width + pixel
    tl.store(label_map + places, label, mask=there)
    if with_confidence:
        tl.store(confidence + places, tl.floor(255 / odds + 0.5).to(tl.uint8), mask=there)


@triton.jit
def _neighbours(pixel, tokens_per_pixel, tokens):
    """The tokens before and after a pixel along one side, and how far it is from the former to the latter."""
    centre = tl.maximum((pixel + 0.5) * tokens_per_pixel - 0.5, 0.0)
    before = tl.minimum(centre.to(tl.int32), tokens - 1)
    return before, tl.minimum(before + 1, tokens - 1), centre - before


@triton.jit
def _between(before, after, share):
    before, after = before.to(tl.float32), after.to(tl.float32)
    return before + share * (after - before)
