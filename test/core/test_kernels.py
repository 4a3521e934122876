"""The kernels in Triton against the operators in plain torch, in float64.

They run on a CUDA device, and on any machine in Triton's interpreter, which has to be chosen before Triton is
imported: ``test_in_the_interpreter`` runs the rest of this file in a process of its own.
"""

import os
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcpc_core.models.dssa import Difference, SelectiveCrossAttention
from sdcpc_core.models.ssea import DCNv3
from sdcpc_core.ops import deform_conv, upsample_argmax, window_attention
from sdcpc_core.ops.deform_conv import plain_deformable_aggregation
from sdcpc_core.ops.upsample_argmax import plain_upsample_argmax
from sdcpc_core.ops.window_attention import plain_window_attention

pytest.importorskip("triton", reason="needs Triton")

# They register the operators.
from sdcpc_core.ops import deform_conv_triton, upsample_argmax_triton, window_attention_triton  # noqa: F401

ops = torch.ops.sdcpc
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
NAMES = ("window_attention", "deformable_aggregation", "upsample_argmax")
DEVICE = "cpu" if INTERPRETED else "cuda"
EXAMPLES = 5 if INTERPRETED else 20
"""Of random sizes; the interpreter is slow, and so is compiling for each of them."""
pytestmark = pytest.mark.timeout(600)
HALF = (torch.bfloat16, torch.float16)


def runs_kernels(test):
    absent = not INTERPRETED and not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(absent, reason="no CUDA device; the interpreter runs it")(test))


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    assert "skipped" not in result.stdout


def assert_agrees(kernel, plain, inputs, generator, equal_nan=False):
    """The same answers and the same gradients, as far as the dtypes of the inputs can tell."""
    inputs = [tensor.to(DEVICE).requires_grad_() for tensor in inputs]
    exact_inputs = [tensor.detach().cpu().double().requires_grad_() for tensor in inputs]
    answer, exact = kernel(*inputs), plain(*exact_inputs)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer.cpu().double(), exact, rtol=1e-4, atol=1e-5, equal_nan=equal_nan)
    of_answer = torch.randn(exact.shape, generator=generator)
    gradients = torch.autograd.grad(answer, inputs, of_answer.to(DEVICE))
    exact_gradients = torch.autograd.grad(exact, exact_inputs, of_answer.double())
    for gradient, expected, tensor in zip(gradients, exact_gradients, inputs, strict=True):
        assert gradient.dtype == tensor.dtype
        scale = max(1.0, expected.nan_to_num().abs().max().item())
        tolerance = max(torch.finfo(tensor.dtype).eps, 1e-5)
        torch.testing.assert_close(
            gradient.cpu().double(), expected, rtol=tolerance, atol=tolerance * scale, equal_nan=equal_nan
        )


def attention_kernel(weighting):
    return lambda *tensors: ops.window_attention(*tensors, weighting == "positive")[0]


def attention_plain(weighting):
    return lambda *tensors: plain_window_attention(*tensors, weighting)


def attention_inputs(generator, *, batch=1, size_hw=(3, 4), reference_hw=(4, 3), channels=16, num_points=4):
    """Query, key, value, and points up to two tokens outside the reference."""

    def features(size):
        return torch.rand(batch, *size, channels, generator=generator) + 0.1  # products that do not cancel

    spread = torch.tensor([reference_hw[1] + 3.0, reference_hw[0] + 3.0])
    points = torch.rand(batch, *size_hw, num_points, 2, generator=generator) * spread - 2
    return [features(size_hw), features(reference_hw), features(reference_hw) - 0.6, points]


small = st.integers(1, 4)


@runs_kernels
@given(
    batch=st.integers(1, 2),
    size_hw=st.tuples(small, small),
    reference_hw=st.tuples(small, small),
    channels=st.sampled_from([16, 48]),
    num_points=st.sampled_from([1, 4]),
    dtype=st.sampled_from([torch.float32, *HALF]),
    weighting=st.sampled_from(["positive", "raw"]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=EXAMPLES)
def test_window_attention(batch, size_hw, reference_hw, channels, num_points, dtype, weighting, seed):
    generator = torch.Generator().manual_seed(seed)
    *features, points = attention_inputs(
        generator,
        batch=batch,
        size_hw=size_hw,
        reference_hw=reference_hw,
        channels=channels,
        num_points=num_points,
    )
    inputs = [*(tensor.to(dtype) for tensor in features), points]
    assert_agrees(attention_kernel(weighting), attention_plain(weighting), inputs, generator)


@runs_kernels
@pytest.mark.parametrize(("channels", "num_points"), [(128, 9), (256, 16)])
def test_window_attention_of_many_channels_and_points(channels, num_points):
    generator = torch.Generator().manual_seed(7)
    inputs = attention_inputs(generator, size_hw=(1, 3), channels=channels, num_points=num_points)
    assert_agrees(attention_kernel("positive"), attention_plain("positive"), inputs, generator)


@runs_kernels
def test_positive_features_of_any_sign():
    generator = torch.Generator().manual_seed(0)
    query, key, value, points = attention_inputs(generator)
    inputs = [query * 8 - 5, key * 8 - 5, value, points]
    assert_agrees(attention_kernel("positive"), attention_plain("positive"), inputs, generator)


@runs_kernels
def test_features_so_low_that_the_divisor_is_a_constant():
    generator = torch.Generator().manual_seed(1)
    query, key, value, points = attention_inputs(generator)
    inputs = [query - 10.5, key - 10.5, value, points]
    assert_agrees(attention_kernel("positive"), attention_plain("positive"), inputs, generator)


@runs_kernels
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # what the interpreter says of infinities
@pytest.mark.parametrize("weighting", ["positive", "raw"])
@pytest.mark.parametrize("place", [-50.0, 1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("outside", [slice(None), slice(1, 3)], ids=["all", "some"])
def test_points_outside(weighting, place, outside):
    generator = torch.Generator().manual_seed(2)
    *features, points = attention_inputs(generator)
    points[..., outside, :] = place
    inputs = [*features, points]
    assert_agrees(attention_kernel(weighting), attention_plain(weighting), inputs, generator, equal_nan=True)


@runs_kernels
def test_features_that_are_no_numbers_are_not_hidden():
    query, key, value, points = (tensor.to(DEVICE) for tensor in attention_inputs(torch.Generator().manual_seed(3)))
    query[0, 1, 2] = float("nan")
    attended = attention_kernel("positive")(query, key, value, points.clamp(0, 2))
    assert attended[0, 1, 2].isnan().all()
    assert attended.isnan().sum() == 16


@runs_kernels
@given(
    batch=st.integers(1, 2),
    size_hw=st.tuples(small, small),
    groups_channels=st.sampled_from([(1, 16), (8, 128), (2, 48), (4, 256), (16, 16)]),
    num_points=st.sampled_from([1, 4, 9]),
    dtype=st.sampled_from([torch.float32, *HALF]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=EXAMPLES)
def test_deformable_aggregation(batch, size_hw, groups_channels, num_points, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    groups, channels = groups_channels
    values = torch.randn(batch, *size_hw, channels, generator=generator).to(dtype)
    offsets = torch.randn(batch, *size_hw, groups, num_points, 2, generator=generator) * 2
    weights = torch.rand(batch, *size_hw, groups, num_points, generator=generator)
    inputs = [values, offsets, weights]
    assert_agrees(ops.deformable_aggregation, plain_deformable_aggregation, inputs, generator)


@runs_kernels
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("place", [-50.0, 1e30, float("inf"), float("nan")])
def test_offsets_that_lead_outside(place):
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(1, 3, 4, 32, generator=generator)
    offsets = torch.randn(1, 3, 4, 2, 9, 2, generator=generator)
    offsets[..., 2:5, :] = place
    inputs = [values, offsets, torch.rand(1, 3, 4, 2, 9, generator=generator)]
    assert_agrees(ops.deformable_aggregation, plain_deformable_aggregation, inputs, generator, equal_nan=True)


@runs_kernels
@given(
    batch=st.integers(1, 2),
    num_classes=st.integers(1, 12),
    size_hw=st.tuples(small, small),
    large_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from([torch.float32, *HALF]),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=EXAMPLES)
def test_upsample_argmax(batch, num_classes, size_hw, large_hw, dtype, channels_last, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(batch, num_classes, *size_hw, generator=generator) * 3).to(DEVICE, dtype)
    if channels_last:
        logits = logits.to(memory_format=torch.channels_last)
    label_map, confidence = ops.upsample_argmax(logits, *large_hw, True)
    assert label_map.dtype == torch.uint8
    exact = F.interpolate(logits.cpu().double(), large_hw, mode="bilinear", align_corners=False)
    labels = label_map.cpu().long()[:, None]
    # Rounding may turn what is all but a tie, and nothing else.
    assert (exact.gather(1, labels) >= exact.amax(1, keepdim=True) - 1e-4).all()
    probability = exact.softmax(1).gather(1, labels)[:, 0]
    torch.testing.assert_close(confidence.cpu().double(), (probability * 255).round(), atol=1, rtol=0)
    torch.testing.assert_close(ops.upsample_argmax(logits, *large_hw, False)[0], label_map)


@runs_kernels
@pytest.mark.parametrize("num_classes", [256, 257])
def test_labels_beyond_a_byte(num_classes):
    logits = torch.zeros(1, num_classes, 1, 1, device=DEVICE)
    logits[0, -1] = 1
    label_map, confidence = ops.upsample_argmax(logits, 1, 2, False)
    assert label_map.tolist() == [[[num_classes - 1] * 2]]
    assert label_map.dtype == plain_upsample_argmax(logits, (1, 2)).label_map.dtype
    assert confidence.numel() == 0


@runs_kernels
def test_of_equal_classes_the_first_is_taken():
    one, other = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(5)) * 3
    logits = torch.cat((one, other, one, other))[None]
    label_map = ops.upsample_argmax(logits.to(DEVICE), 24, 33, False)[0].cpu()
    assert set(label_map.unique().tolist()) == {0, 1}
    assert torch.equal(label_map, plain_upsample_argmax(logits, (24, 33)).label_map)


@runs_kernels
def test_no_number_is_the_largest_as_in_torch():
    logits = torch.rand(1, 4, 2, 2)
    logits[0, 2:] = float("nan")
    assert (plain_upsample_argmax(logits, (6, 6)).label_map == 2).all()
    assert (ops.upsample_argmax(logits.to(DEVICE), 6, 6, False)[0] == 2).all()


def op_calls():
    """Every operator with its arguments, those of a network in training."""
    generator = torch.Generator().manual_seed(6)
    attention = [tensor.to(DEVICE).requires_grad_() for tensor in attention_inputs(generator, num_points=1)]
    values = torch.randn(1, 3, 4, 32, generator=generator).to(DEVICE).requires_grad_()
    offsets = torch.randn(1, 3, 4, 2, 4, 2, generator=generator).to(DEVICE).requires_grad_()
    weights = torch.rand(1, 3, 4, 2, 4, generator=generator).to(DEVICE).requires_grad_()
    logits = torch.randn(2, 5, 3, 4, generator=generator).to(DEVICE)
    return {
        "window_attention": (*attention, True),
        "deformable_aggregation": (values, offsets, weights),
        "upsample_argmax": (logits, 9, 13, True),
    }


@runs_kernels
@pytest.mark.parametrize("name", NAMES)
def test_operators_keep_the_rules_of_torch_library(name):
    torch.library.opcheck(getattr(ops, name).default, op_calls()[name])


@runs_kernels
def test_inputs_may_lie_in_memory_as_they_like():
    arguments = op_calls()

    def strewn(tensor):
        return tensor.transpose(0, -1).contiguous().transpose(0, -1) if isinstance(tensor, torch.Tensor) else tensor

    for name, inputs in arguments.items():
        expected, result = (getattr(ops, name)(*values) for values in (inputs, map(strewn, inputs)))
        torch.testing.assert_close(result, expected)


@pytest.fixture
def _public_functions_take_kernels(monkeypatch):
    """Also in the interpreter; on a CUDA device they do anyway."""
    if not INTERPRETED:
        return
    for module in (window_attention, deform_conv, upsample_argmax):
        monkeypatch.setattr(module, "takes", lambda _: True)
        monkeypatch.setattr(module, "takes_tokens", lambda *_: True, raising=False)


@runs_kernels
@pytest.mark.usefixtures("_public_functions_take_kernels")
def test_a_compiled_network_sees_one_node_per_operator():
    arguments = op_calls()
    seen = []

    def backend(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    def network(attention, deformable, logits):
        attended = window_attention.selective_window_attention(*attention)
        aggregated = deform_conv.deformable_aggregation(*deformable)
        return attended, aggregated, upsample_argmax.upsample_argmax(logits, (9, 13)).label_map

    inputs = (arguments["window_attention"][:4], arguments["deformable_aggregation"], arguments["upsample_argmax"][0])
    expected = network(*inputs)
    result = torch.compile(network, backend=backend, fullgraph=True)(*inputs)
    torch.testing.assert_close(result, expected)
    assert [name for name in seen if "sdcpc" in name] == [f"sdcpc.{name}.default" for name in NAMES]


@runs_kernels
@pytest.mark.usefixtures("_public_functions_take_kernels")
def test_an_exported_network_has_one_node_per_operator():
    class Network(torch.nn.Module):
        def forward(self, *tensors):
            return window_attention.selective_window_attention(*tensors)

    inputs = op_calls()["window_attention"][:4]
    exported = torch.export.export(Network(), inputs)
    called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert [target for target in called if "sdcpc" in str(target)] == [ops.window_attention.default]
    torch.testing.assert_close(exported.module()(*inputs), Network()(*inputs))


@runs_kernels
@pytest.mark.usefixtures("_public_functions_take_kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_learns_alike_with_and_without_kernels(monkeypatch, dtype):
    torch.manual_seed(9)
    attention = SelectiveCrossAttention(16, 4, Difference.ROWS, "positive")
    layers = torch.nn.ModuleList((attention, DCNv3(16, groups=2))).to(DEVICE)
    for parameter in layers.parameters():  # some start at zero, where their gradients would hide the others
        torch.nn.init.normal_(parameter, std=0.2)
    target, reference = torch.randn(2, 1, 16, 3, 4, device=DEVICE).permute(0, 1, 3, 4, 2)

    def loss_and_gradients():
        with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
            loss = layers[1](layers[0](target, reference)).float().square().mean()
        return loss, *torch.autograd.grad(loss, layers.parameters())

    with_kernels = loss_and_gradients()
    for module in (window_attention, deform_conv):
        monkeypatch.setattr(module, "takes_tokens", lambda *_: False)
    for result, expected in zip(with_kernels, loss_and_gradients(), strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 0.03
        assert (result - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(0.1)
