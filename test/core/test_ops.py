"""Every operator against a naive implementation that reads like its equation."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcpc_core.ops.deform_conv import deformable_aggregation, regular_grid
from sdcpc_core.ops.sampling import weighted_rows
from sdcpc_core.ops.upsample_argmax import upsample_argmax
from sdcpc_core.ops.window_attention import selective_window_attention


def bilinear(token_map, x, y):
    """One sample of an (h, w, C) map, zero outside."""
    height, width, channels = token_map.shape
    total = torch.zeros(channels, dtype=token_map.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * token_map[row, column]
    return total


FEATURE_MAPS = {"positive": lambda features: F.elu(features) + 1, "raw": lambda features: features}


@pytest.mark.parametrize("num_points", [4, 9, 16])
@pytest.mark.parametrize("weighting", ["positive", "raw"])
def test_window_attention_is_equation_2(weighting, num_points):
    generator = torch.Generator().manual_seed(0)
    query = torch.rand(2, 3, 4, 6, generator=generator) - 0.1
    key, value = torch.rand(2, 2, 5, 3, 6, generator=generator) - 0.1
    points = torch.rand(2, 3, 4, num_points, 2, generator=generator) * 7 - 1.5
    result = selective_window_attention(query, key, value, points, weighting)
    query, key = FEATURE_MAPS[weighting](query), FEATURE_MAPS[weighting](key)
    for b, i, j in np.ndindex(2, 3, 4):
        samples = [tuple(p) for p in points[b, i, j].tolist()]
        products = torch.stack([query[b, i, j] @ bilinear(key[b], x, y) for x, y in samples])
        values = torch.stack([bilinear(value[b], x, y) for x, y in samples])
        total = products.sum() if products.abs().sum() > 0 else 1.0  # all points outside: nothing to attend to
        torch.testing.assert_close(result[b, i, j], products / total @ values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    # Keys 2 and -1 under a query of 3: products 6 and -3 weigh 6/3 and -3/3. Positive: query 4, keys 3 and e^-1, so
    # the products 12 and 4/e weigh 3 / (3 + 1/e) and (1/e) / (3 + 1/e).
    [("raw", 10 * 2 - 20 * 1), ("positive", (10 * 3 + 20 / math.e) / (3 + 1 / math.e))],
)
def test_equation_2_by_hand(weighting, expected):
    query = torch.tensor([3.0]).view(1, 1, 1, 1)
    key, value = torch.tensor([[2.0, -1.0], [10.0, 20.0]]).view(2, 1, 1, 2, 1)
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).view(1, 1, 1, 2, 2)
    assert selective_window_attention(query, key, value, points, weighting).item() == pytest.approx(expected)


@pytest.mark.parametrize("weighting", ["positive", "raw"])
def test_window_attention_over_the_whole_map_is_dense_attention(weighting):
    generator = torch.Generator().manual_seed(1)
    query, key, value = torch.rand(3, 1, 3, 3, 8, generator=generator)
    everywhere = torch.cartesian_prod(torch.arange(3), torch.arange(3)).flip(-1).float().expand(1, 3, 3, 9, 2)
    result = selective_window_attention(query, key, value, everywhere, weighting)
    products = FEATURE_MAPS[weighting](query.view(9, 8)) @ FEATURE_MAPS[weighting](key.view(9, 8)).T
    dense = products / products.sum(1, keepdim=True) @ value.view(9, 8)
    torch.testing.assert_close(result.view(9, 8), dense)


@given(
    scale=st.floats(0, 1e4),
    shift=st.floats(-1e4, 1e4),
    num_points=st.sampled_from([1, 4, 9, 16]),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=50)
def test_positive_weights_sum_to_one_and_stay_finite(scale, shift, num_points, seed):
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 1, 5, 5, 8, generator=generator) * scale + shift
    inside = torch.rand(1, 5, 5, num_points, 2, generator=generator) * 4
    # Over a value of one everywhere the result is the sum of the weights.
    total = selective_window_attention(query, key, torch.ones(1, 5, 5, 8), inside)
    assert total.isfinite().all()
    if shift + 6 * scale < -5:  # all features far below zero, where exp vanishes: at most one
        assert total.max() <= 1 + 1e-4
    elif shift - 6 * scale > -5:
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_window_attention_sums_in_float32_under_autocast(dtype):
    query, key, value = torch.rand(3, 1, 3, 3, 128, generator=torch.Generator().manual_seed(5)) * 50
    points = regular_grid(3, 3, 4, torch.device("cpu"))[None]
    exact = selective_window_attention(query, key, value, points)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(selective_window_attention(query, key, value, points), exact)


@pytest.mark.parametrize("weighting", ["positive", "raw"])
@pytest.mark.parametrize("place", [-50.0, 1e30, math.inf, -math.inf, math.nan])
def test_where_there_is_nothing_to_attend_to_the_answer_is_zero(weighting, place):
    query, key, value = torch.rand(3, 1, 3, 4, 8, generator=torch.Generator().manual_seed(2))
    nowhere = torch.full((1, 3, 4, 4, 2), place)
    assert (selective_window_attention(query, key, value, nowhere, weighting) == 0).all()


@pytest.mark.parametrize("weighting", ["positive", "raw"])
def test_window_attention_passes_gradients(weighting):
    generator = torch.Generator().manual_seed(3)
    query, key, value = torch.rand(3, 1, 2, 3, 4, generator=generator, dtype=torch.float64) + 0.1
    points = torch.rand(1, 2, 3, 4, 2, generator=generator, dtype=torch.float64) * 4 - 1
    inputs = [tensor.requires_grad_() for tensor in (query, key, value, points)]
    torch.autograd.gradcheck(lambda *tensors: selective_window_attention(*tensors, weighting), inputs, atol=1e-6)


@given(
    rows=st.integers(1, 9),
    bags=st.integers(1, 12),
    width=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    wanted=st.sampled_from([(True, True), (True, False), (False, True)]),
)
@settings(deadline=None, max_examples=60)
def test_sums_of_rows_have_the_gradients_of_their_formula(rows, bags, width, seed, wanted):
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(rows, (bags, width), generator=generator)  # some rows never, some several times in a bag
    table = torch.randn(rows, 3, generator=generator, dtype=torch.float64).requires_grad_(wanted[0])
    weights = torch.randn(bags, width, generator=generator, dtype=torch.float64).requires_grad_(wanted[1])
    of_output = torch.randn(bags, 3, generator=generator, dtype=torch.float64)
    inputs = [tensor for tensor in (table, weights) if tensor.requires_grad]
    expected = (table[indices] * weights[..., None]).sum(1)
    summed = weighted_rows(table, indices, weights)
    torch.testing.assert_close(summed, expected)
    torch.testing.assert_close(
        torch.autograd.grad(summed, inputs, of_output), torch.autograd.grad(expected, inputs, of_output)
    )


def test_points_outside_the_reference_have_no_say():
    query, key = torch.ones(2, 1, 2, 2, 4)
    value = torch.full((1, 2, 2, 4), 5.0)
    outside = torch.full((1, 2, 2, 4, 2), -9.0)
    assert selective_window_attention(query, key, value, outside).abs().max() == 0
    outside[..., 0, :] = 0.0
    torch.testing.assert_close(selective_window_attention(query, key, value, outside), value)


def test_window_attention_gradients():
    generator = torch.Generator().manual_seed(2)
    query, key, value = (torch.rand(1, 2, 3, 4, generator=generator) + 0.1 for _ in range(3))
    points = torch.rand(1, 2, 3, 4, 2, generator=generator) * 2 + 0.2
    for tensor in (query, key, value, points):
        tensor.requires_grad_()
    selective_window_attention(query, key, value, points).square().sum().backward()
    epsilon = 1e-2
    for tensor in (query, key, value, points):
        index = (0, 1, 1, 2) if tensor is not points else (0, 1, 1, 2, 0)
        values = []
        for step in (epsilon, -epsilon):
            with torch.no_grad():
                tensor[index] += step
                values.append(selective_window_attention(query, key, value, points).square().sum())
                tensor[index] -= step
        numeric = (values[0] - values[1]) / (2 * epsilon)
        assert tensor.grad[index].item() == pytest.approx(numeric.item(), rel=0.03, abs=2e-3)


def test_deformable_aggregation_is_a_modulated_sum_of_bent_grid_points():
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(2, 4, 3, 6, generator=generator)
    offsets = torch.randn(2, 4, 3, 2, 9, 2, generator=generator)
    weights = torch.rand(2, 4, 3, 2, 9, generator=generator)
    result = deformable_aggregation(values, offsets, weights)
    grid = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for b, i, j, g in np.ndindex(2, 4, 3, 2):
        group = values[b, :, :, g * 3 : g * 3 + 3]
        expected = torch.zeros(3)
        for d, (dx, dy) in enumerate(grid):
            x, y = (offsets[b, i, j, g, d] + torch.tensor([j + dx, i + dy])).tolist()
            expected += weights[b, i, j, g, d] * bilinear(group, x, y)
        torch.testing.assert_close(result[b, i, j, g * 3 : g * 3 + 3], expected, atol=1e-4, rtol=1e-4)


def test_without_offsets_and_modulation_deformable_aggregation_is_a_box_filter():
    values = torch.rand(1, 5, 6, 2)
    result = deformable_aggregation(values, torch.zeros(1, 5, 6, 1, 9, 2), torch.full((1, 5, 6, 1, 9), 1 / 9))
    expected = F.avg_pool2d(values.permute(0, 3, 1, 2), 3, stride=1, padding=1)
    torch.testing.assert_close(result, expected.permute(0, 2, 3, 1))


def test_regular_grid_is_centred():
    grid = regular_grid(2, 3, 4, torch.device("cpu"))
    assert grid.shape == (2, 3, 4, 2)
    assert grid[1, 2].tolist() == [[1.5, 0.5], [2.5, 0.5], [1.5, 1.5], [2.5, 1.5]]


@pytest.mark.parametrize(
    ("num_classes", "small", "large"),
    [
        (11, (5, 7), (33, 50)),
        (124, (3, 4), (24, 31)),
        (300, (2, 2), (9, 9)),
        (2, (8, 8), (8, 8)),
        (5, (9, 13), (4, 6)),
        (3, (1, 1), (7, 5)),
    ],
)
def test_upsample_argmax_agrees_with_the_two_steps(num_classes, small, large, monkeypatch):
    monkeypatch.setattr("sdcpc_core.ops.upsample_argmax._ELEMENTS_AT_ONCE", 7 * num_classes)  # hardly any cell at once
    logits = torch.randn(2, num_classes, *small, generator=torch.Generator().manual_seed(4))
    logits[:, 0, :, : small[1] // 2 + 1] += 9  # half of the map is of one class
    decision = upsample_argmax(logits, large, with_confidence=True)
    probabilities = F.interpolate(logits, large, mode="bilinear", align_corners=False).softmax(1)
    best = probabilities.max(1)
    assert (decision.label_map == best.indices).float().mean() > 0.999  # rounding may turn a tie
    torch.testing.assert_close(decision.confidence.float(), (best.values * 255).round(), atol=1, rtol=0)
    without = upsample_argmax(logits, large)
    assert without.confidence is None
    assert torch.equal(without.label_map, decision.label_map)


def test_labels_are_decided_in_float32_under_autocast():
    logits = torch.randn(1, 11, 9, 9, generator=torch.Generator().manual_seed(5))
    with torch.autocast("cpu", torch.bfloat16):
        label_map = upsample_argmax(logits, (70, 70)).label_map
    assert torch.equal(label_map, upsample_argmax(logits, (70, 70)).label_map)


def test_pixels_between_tokens_that_agree_are_not_mixed(monkeypatch):
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 2, :, 2:] = logits[:, 1, :, :2] = 1
    mixed = []
    bmm = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *inputs, out: mixed.append(len(out)) or bmm(*inputs, out=out))
    label_map = upsample_argmax(logits, (32, 32)).label_map
    assert sum(mixed) == 5  # cells across the border of the two classes, one more than there are rows of tokens
    assert (label_map[..., :16] == 1).all()
    assert (label_map[..., 16:] == 2).all()


def test_a_cpu_needs_no_triton():
    program = """
import sys
sys.modules["triton"] = None  # which makes the import fail
import torch
import sdcpc_core.streaming
from sdcpc_core.models import build_model
build_model("sdcpc_mit_b0", num_classes=2)(torch.zeros(1, 3, 3, 32, 32))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
