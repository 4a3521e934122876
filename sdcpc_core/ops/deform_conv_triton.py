"""Sampling and aggregation of DCNv3 in one pass, forward and backward, in Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sdcpc_core.ops.sampling_triton import (
    NUM_WARPS,
    load_point,
    load_tile,
    neighbour,
    store_point,
    tile,
    tile_places,
)


@torch.library.custom_op("sdcpc::deformable_aggregation", mutates_args=())
def deformable_aggregation(values: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """``deformable_aggregation`` of ``ops.deform_conv`` as one kernel; arguments as there, float32 returned."""
    aggregated = _result(values, offsets, weights)
    _launch(_forward, values.contiguous(), offsets.contiguous(), weights.contiguous(), aggregated)
    return aggregated


@deformable_aggregation.register_fake
def _result(values: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    assert offsets.shape == (*weights.shape, 2)
    assert values.shape[:-1] == weights.shape[:-2]
    assert values.shape[-1] % weights.shape[-2] == 0
    return values.new_empty(values.shape, dtype=torch.float32)


@torch.library.custom_op("sdcpc::deformable_aggregation_backward", mutates_args=())
def deformable_aggregation_backward(
    gradient: Tensor, values: Tensor, offsets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of values, offsets and weights, each in its dtype; those of values sum in no fixed order."""
    inputs = [tensor.contiguous() for tensor in (values, offsets, weights, gradient)]
    of_values = values.new_zeros(values.shape, dtype=torch.float32)
    of_offsets, of_weights = offsets.new_empty(offsets.shape), weights.new_empty(weights.shape)
    _launch(_backward, *inputs, of_values, of_offsets, of_weights)
    return of_values.to(values.dtype), of_offsets, of_weights


@deformable_aggregation_backward.register_fake
def _gradients(gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs)


def _save(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, ...]:
    return deformable_aggregation_backward(gradient, *ctx.saved_tensors)


deformable_aggregation.register_autograd(_differentiate, setup_context=_save)


def _launch(kernel: triton.JITFunction, *tensors: Tensor) -> None:
    values, _, weights = tensors[:3]
    batch, height, width, channels = values.shape
    groups, num_points = weights.shape[-2:]
    num_rows = batch * height * width * groups
    if not num_rows:
        return
    # A row is a pixel's group: the rows of a pixel lie one after the other, as its channels do.
    tile_rows, tile_channels = tile(channels // groups)
    with torch.cuda.device_of(values):
        kernel[(triton.cdiv(num_rows, tile_rows),)](
            *tensors,
            num_rows,
            height,
            width,
            groups,
            channels // groups,
            num_points=num_points,
            side=round(num_points**0.5),
            tile_rows=tile_rows,
            tile_channels=tile_channels,
            num_warps=NUM_WARPS,
        )


@triton.jit
def _forward(
    values,
    offsets,
    weights,
    aggregated,
    num_rows,
    height,
    width,
    groups,
    channels,
    num_points: tl.constexpr,
    side: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
):
    rows, channel, there_rows, places, there = tile_places(num_rows, channels, tile_rows, tile_channels)
    image, group = rows // groups // (height * width) * (height * width), rows % groups
    total = tl.zeros((tile_rows, tile_channels), tl.float32)
    for point in range(num_points):
        place = rows * num_points + point
        x, y = _bent_grid(offsets, place, there_rows, rows // groups - image, point, width, side)
        modulation = tl.load(weights + place, mask=there_rows, other=0.0).to(tl.float32)
        for corner in tl.static_range(4):
            index, on_map, bilinear, _, _ = neighbour(x, y, corner, height, width)
            token = ((image + index) * groups + group)[:, None] * channels + channel
            total += (modulation * bilinear)[:, None] * load_tile(values, token, there & on_map[:, None])
    tl.store(aggregated + places, total, mask=there)


@triton.jit
def _backward(
    values,
    offsets,
    weights,
    gradient,
    of_values,
    of_offsets,
    of_weights,
    num_rows,
    height,
    width,
    groups,
    channels,
    num_points: tl.constexpr,
    side: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
):
    rows, channel, there_rows, places, there = tile_places(num_rows, channels, tile_rows, tile_channels)
    image, group = rows // groups // (height * width) * (height * width), rows % groups
    of_total = load_tile(gradient, places, there)
    for point in range(num_points):
        place = rows * num_points + point
        x, y = _bent_grid(offsets, place, there_rows, rows // groups - image, point, width, side)
        modulation = tl.load(weights + place, mask=there_rows, other=0.0).to(tl.float32)
        of_modulation = tl.zeros((tile_rows,), tl.float32)
        of_x = tl.zeros((tile_rows,), tl.float32)
        of_y = tl.zeros((tile_rows,), tl.float32)
        for corner in tl.static_range(4):
            index, on_map, bilinear, slope_x, slope_y = neighbour(x, y, corner, height, width)
            token = ((image + index) * groups + group)[:, None] * channels + channel
            there_token = there & on_map[:, None]
            tl.atomic_add(
                of_values + token, (modulation * bilinear)[:, None] * of_total, mask=there_token, sem="relaxed"
            )
            product = tl.sum(of_total * load_tile(values, token, there_token), axis=1)
            of_modulation += product * bilinear
            of_x += product * modulation * slope_x
            of_y += product * modulation * slope_y
        store_point(of_offsets, place, of_x, of_y, there_rows)
        tl.store(of_weights + place, of_modulation, mask=there_rows)


@triton.jit
def _bent_grid(offsets, place, there, pixel, point, width, side: tl.constexpr):
    """Where a row's sample lies: its pixel, its place in the window around it, its offset."""
    x, y = load_point(offsets, place, there)
    return x + (pixel % width + point % side - (side - 1) / 2), y + (pixel // width + point // side - (side - 1) / 2)
