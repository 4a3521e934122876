"""Selective window cross-attention in one pass over the points, forward and backward, in Triton.

The quotient of Eq. (2) is linear in the values: their sum weighted by bare products is divided once, at the end, and
nothing of P rows per pixel is ever stored.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sdcpc_core.ops.features import SMALLEST_SUM
from sdcpc_core.ops.sampling_triton import (
    NUM_WARPS,
    load_point,
    load_tile,
    neighbour,
    store_point,
    tile,
    tile_places,
)


@torch.library.custom_op("sdcpc::window_attention", mutates_args=())
def window_attention(
    query: Tensor, key: Tensor, value: Tensor, points: Tensor, positive: bool
) -> tuple[Tensor, Tensor]:
    """``selective_window_attention`` as one kernel; arguments as there.

    Returns:
        The answer (B, h, w, C) and the sum of each pixel's products (B, h, w), both float32.
    """
    inputs = [tensor.contiguous() for tensor in (query, key, value, points)]
    attended, total = _results(query, key, value, points, positive)
    _launch(_forward, *inputs, attended, total, positive=positive)
    return attended, total


@window_attention.register_fake
def _results(query: Tensor, key: Tensor, value: Tensor, points: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    assert key.shape == value.shape
    assert query.shape[:-1] == points.shape[:-2]
    assert (query.shape[0], query.shape[-1]) == (key.shape[0], key.shape[-1])
    attended = query.new_empty(query.shape, dtype=torch.float32)
    return attended, attended.new_empty(query.shape[:-1])


@torch.library.custom_op("sdcpc::window_attention_backward", mutates_args=())
def window_attention_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    points: Tensor,
    attended: Tensor,
    total: Tensor,
    positive: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and points, each in its dtype; those of key and value sum in no fixed order."""
    inputs = [tensor.contiguous() for tensor in (query, key, value, points)]
    of_query, of_points = query.new_empty(query.shape), points.new_empty(points.shape)
    of_key, of_value = key.new_zeros(key.shape, dtype=torch.float32), value.new_zeros(value.shape, dtype=torch.float32)
    given = [tensor.contiguous() for tensor in (attended, total, gradient)]
    _launch(_backward, *inputs, *given, of_query, of_key, of_value, of_points, positive=positive)
    return of_query, of_key.to(key.dtype), of_value.to(value.dtype), of_points


@window_attention_backward.register_fake
def _gradients(gradient: Tensor, *others: Tensor | bool) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in others[:4])


def _save(ctx: FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.positive = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors, *output)


def _differentiate(ctx: FunctionCtx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*window_attention_backward(gradient, *ctx.saved_tensors, ctx.positive), None)


window_attention.register_autograd(_differentiate, setup_context=_save)


def _launch(kernel: triton.JITFunction, *tensors: Tensor, positive: bool) -> None:
    query, key, _, points = tensors[:4]
    batch, height, width, channels = query.shape
    num_rows = batch * height * width
    if not num_rows:
        return
    tile_rows, tile_channels = tile(channels)
    with torch.cuda.device_of(query):
        kernel[(triton.cdiv(num_rows, tile_rows),)](
            *tensors,
            num_rows,
            height * width,
            key.shape[1],
            key.shape[2],
            channels,
            num_points=points.shape[-2],
            positive=positive,
            smallest_sum=SMALLEST_SUM,
            tile_rows=tile_rows,
            tile_channels=tile_channels,
            num_warps=NUM_WARPS,
        )


@triton.jit
def _forward(
    query,
    key,
    value,
    points,
    attended,
    total,
    num_rows,
    rows_per_image,
    height,
    width,
    channels,
    num_points: tl.constexpr,
    positive: tl.constexpr,
    smallest_sum: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
):
    rows, channel, there_rows, places, there = tile_places(num_rows, channels, tile_rows, tile_channels)
    image = rows // rows_per_image * height * width
    queries = _feature(load_tile(query, places, there), there, positive)
    weighted = tl.zeros((tile_rows, tile_channels), tl.float32)
    sum_of_products = tl.zeros((tile_rows,), tl.float32)
    for point in range(num_points):
        x, y = load_point(points, rows * num_points + point, there_rows)
        keys, values = _sample(key, value, x, y, image, channel, there, height, width, channels, positive)
        product = tl.sum(queries * keys, axis=1)
        weighted += product[:, None] * values
        sum_of_products += product
    tl.store(attended + places, weighted / _divisor(sum_of_products, positive, smallest_sum)[:, None], mask=there)
    tl.store(total + rows, sum_of_products, mask=there_rows)


@triton.jit
def _backward(
    query,
    key,
    value,
    points,
    attended,
    total,
    gradient,
    of_query,
    of_key,
    of_value,
    of_points,
    num_rows,
    rows_per_image,
    height,
    width,
    channels,
    num_points: tl.constexpr,
    positive: tl.constexpr,
    smallest_sum: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
):
    rows, channel, there_rows, places, there = tile_places(num_rows, channels, tile_rows, tile_channels)
    image = rows // rows_per_image * height * width
    bare_queries = load_tile(query, places, there)
    queries = _feature(bare_queries, there, positive)
    of_attended = load_tile(gradient, places, there)
    sum_of_products = tl.load(total + rows, mask=there_rows, other=0.0)
    divisor = _divisor(sum_of_products, positive, smallest_sum)
    # What every product costs the others through the sum they are divided by; nothing where the divisor is a constant.
    shared = tl.sum(of_attended * load_tile(attended, places, there), axis=1)
    shared = tl.where(divisor == sum_of_products, shared, 0.0)
    of_queries = tl.zeros((tile_rows, tile_channels), tl.float32)
    for point in range(num_points):
        x, y = load_point(points, rows * num_points + point, there_rows)
        keys, values = _sample(key, value, x, y, image, channel, there, height, width, channels, positive)
        attention = tl.sum(queries * keys, axis=1) / divisor
        of_product = (tl.sum(of_attended * values, axis=1) - shared) / divisor
        of_queries += of_product[:, None] * keys
        of_x = tl.zeros((tile_rows,), tl.float32)
        of_y = tl.zeros((tile_rows,), tl.float32)
        # Once more over the corners, from the cache, now that the weight of the point is known.
        for corner in tl.static_range(4):
            index, on_map, weight, slope_x, slope_y = neighbour(x, y, corner, height, width)
            token, there_token = (image + index)[:, None] * channels + channel, there & on_map[:, None]
            bare_key, one_value = load_tile(key, token, there_token), load_tile(value, token, there_token)
            one_key = _feature(bare_key, there_token, positive)
            of_one_key = (of_product * weight)[:, None] * queries * _slope(bare_key, positive)
            tl.atomic_add(of_key + token, of_one_key, mask=there_token, sem="relaxed")
            tl.atomic_add(
                of_value + token, (attention * weight)[:, None] * of_attended, mask=there_token, sem="relaxed"
            )
            of_weight = tl.sum(
                of_product[:, None] * queries * one_key + attention[:, None] * of_attended * one_value, axis=1
            )
            of_x += of_weight * slope_x
            of_y += of_weight * slope_y
        store_point(of_points, rows * num_points + point, of_x, of_y, there_rows)
    tl.store(of_query + places, of_queries * _slope(bare_queries, positive), mask=there)


@triton.jit
def _sample(key, value, x, y, image, channel, there, height, width, channels, positive: tl.constexpr):
    """Keys, after the map of the weighting, and values at one point per row."""
    keys = tl.zeros(there.shape, tl.float32)
    values = tl.zeros(there.shape, tl.float32)
    for corner in tl.static_range(4):
        index, on_map, weight, _, _ = neighbour(x, y, corner, height, width)
        token, there_token = (image + index)[:, None] * channels + channel, there & on_map[:, None]
        keys += weight[:, None] * _feature(load_tile(key, token, there_token), there_token, positive)
        values += weight[:, None] * load_tile(value, token, there_token)
    return keys, values


@triton.jit
def _feature(features, there, positive: tl.constexpr):
    """What Eq. (2) multiplies; ``elu(x) + 1`` would be one where there is nothing."""
    if positive:
        return tl.where(there, tl.where(features > 0, features + 1, tl.exp(features)), 0.0)
    else:
        return features


@triton.jit
def _slope(features, positive: tl.constexpr):
    if positive:
        return tl.where(features > 0, 1.0, tl.exp(features))
    else:
        return tl.full(features.shape, 1.0, tl.float32)


@triton.jit
def _divisor(sum_of_products, positive: tl.constexpr, smallest_sum: tl.constexpr):
    if positive:
        return tl.where(sum_of_products < smallest_sum, smallest_sum, sum_of_products)
    else:
        return tl.where(sum_of_products == 0, 1.0, sum_of_products)
