"""Layers that oneDNN computes in one pass, against their definition in float64."""

import platform

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sdcpc_core.models.layers import MLP, Linear
from sdcpc_core.ops import fused_layers
from sdcpc_core.ops.fused_layers import conv_gelu, linear, linear_gelu

FUSED = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
needs_fused_layers = pytest.mark.skipif(not FUSED, reason="needs oneDNN on an x86 processor")


def fused_calls(call):
    """Names of the fused operators that a call runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    return {event.key for event in profile.key_averages() if event.key.startswith("mkldnn::")}


@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    bias=st.booleans(),
    transposed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_linear_layers(shape, widths, bias, transposed, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(*shape, widths[0], generator=generator) * 3
    if transposed:
        tokens = tokens.transpose(0, -1).contiguous().transpose(0, -1)
    layer = nn.Linear(*widths, bias=bias)
    exact = F.linear(tokens.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with torch.inference_mode():
        torch.testing.assert_close(linear(tokens, layer).double(), exact, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(linear_gelu(tokens, layer).double(), F.gelu(exact), atol=1e-4, rtol=1e-5)


@given(
    size_hw=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([(3, 5, 1), (4, 8, 4), (16, 16, 16)]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, (2, 1)]),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_convolutions(size_hw, channels, kernel, stride, channels_last, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, channels[0], *size_hw, generator=generator)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    layer = nn.Conv2d(channels[0], channels[1], kernel, stride, padding=kernel // 2, groups=channels[2])
    exact = F.gelu(nn.Conv2d.forward(layer.double(), features.double()))
    layer.float()
    with torch.inference_mode():
        torch.testing.assert_close(conv_gelu(features, layer).double(), exact, atol=1e-4, rtol=1e-5)


@needs_fused_layers
def test_the_fused_operators_run_at_inference_alone():
    mlp, tokens = MLP(8), torch.randn(2, 8)
    assert not fused_calls(lambda: mlp(tokens))
    with torch.inference_mode():
        assert fused_calls(lambda: mlp(tokens)) == {"mkldnn::_linear_pointwise"}
        assert not fused_calls(lambda: mlp.double()(tokens.double()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_decides_on_the_precision(dtype):
    layer, tokens = Linear(64, 32), torch.randn(5, 64)
    exact = layer(tokens)
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        for coarse in (linear(tokens, layer), linear(tokens, layer.to(dtype))):
            assert coarse.dtype == dtype
            torch.testing.assert_close(coarse.float(), exact, atol=0.05, rtol=0.05)


def test_other_processors_take_the_usual_layers(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    fused_layers._dtypes.cache_clear()
    with torch.inference_mode():
        assert not fused_calls(lambda: MLP(8)(torch.randn(2, 8)))
    monkeypatch.undo()
    fused_layers._dtypes.cache_clear()
