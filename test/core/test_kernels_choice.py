"""Which version of an operator runs, and what of the kernels can be tested without a device."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sdcpc_core.ops import deform_conv, kernels, upsample_argmax, window_attention
from sdcpc_core.ops.window_attention import plain_window_attention

triton = pytest.importorskip("triton", reason="needs Triton")

from sdcpc_core.ops import deform_conv_triton, upsample_argmax_triton, window_attention_triton  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
NAMES = ("window_attention", "deformable_aggregation", "upsample_argmax")


@pytest.fixture
def calls(monkeypatch):
    """Names of what the public functions call, on a machine that seems to have Triton at work."""
    names = []

    def record(module, name, function):
        monkeypatch.setattr(module, name, lambda *args, **_: names.append(name) or function(*args))

    for module, kernel_module, name in (
        (window_attention, window_attention_triton, "window_attention"),
        (deform_conv, deform_conv_triton, "deformable_aggregation"),
        (upsample_argmax, upsample_argmax_triton, "upsample_argmax"),
    ):
        record(kernel_module, name, getattr(kernel_module, name))
        record(module, f"plain_{name}", lambda *_: None)
    monkeypatch.setattr(kernels, "_start_triton", lambda: True)
    return names


@pytest.mark.parametrize(
    ("channels", "dtype", "device", "expected"),
    [
        (128, torch.float32, "cuda", [*NAMES]),
        (128, torch.bfloat16, "cuda", [*NAMES]),
        (24, torch.float32, "cuda", ["plain_window_attention", "plain_deformable_aggregation", "upsample_argmax"]),
        (272, torch.float16, "cuda", ["plain_window_attention", "plain_deformable_aggregation", "upsample_argmax"]),
        (128, torch.float64, "cuda", [f"plain_{name}" for name in NAMES]),
        (128, torch.float32, "cpu", [f"plain_{name}" for name in NAMES]),
    ],
)
def test_what_kernels_take_on_cuda_they_get(calls, channels, dtype, device, expected):
    with FakeTensorMode():  # a device without memory, which needs no hardware

        def fake(*shape):
            return torch.empty(2, 6, 7, *shape, dtype=dtype, device=device)

        tokens, offsets, weights = fake(channels), fake(4, 9, 2), fake(4, 9)
        attended = window_attention.selective_window_attention(tokens, tokens, tokens, fake(4, 2))
        aggregated = deform_conv.deformable_aggregation(tokens, offsets, weights)
        decision = upsample_argmax.upsample_argmax(tokens, (48, 50), with_confidence=True)
    assert calls == expected
    for result in (attended, aggregated):
        if result is not None:
            assert (result.shape, result.dtype, result.device.type) == (tokens.shape, torch.float32, device)
    if decision is not None:
        assert decision.label_map.shape == decision.confidence.shape == (2, 48, 50)
        assert decision.label_map.device.type == device


def test_a_compiled_network_asks_once_for_triton(monkeypatch):
    monkeypatch.setattr(kernels, "_start_triton", lambda: 3)
    compiled = torch.compile(lambda tensor: tensor * kernels.triton_works(), backend="eager", fullgraph=True)
    assert compiled(torch.tensor(2)) == 6


def test_without_triton_cuda_runs_in_plain_torch(monkeypatch):
    monkeypatch.setattr(kernels, "find_spec", lambda _: None)
    assert not kernels._start_triton.__wrapped__()


@pytest.mark.parametrize(
    ("backend", "capability", "expected"), [("cuda", 90, True), ("cuda", 75, False), ("hip", "gfx942", False)]
)
def test_kernels_are_for_devices_of_nvidia(monkeypatch, backend, capability, expected):
    target = triton.backends.compiler.GPUTarget(backend, capability, 32)
    driver = SimpleNamespace(active=SimpleNamespace(get_current_target=lambda: target))
    monkeypatch.setattr("triton.runtime.driver", driver)
    assert kernels._start_triton.__wrapped__() is expected


def test_where_triton_does_not_start_it_is_said_why(monkeypatch):
    class NoCompiler:
        @property
        def active(self):
            raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr("triton.runtime.driver", NoCompiler())
    with pytest.warns(UserWarning, match="plain torch.*Failed to find C compiler"):
        assert not kernels._start_triton.__wrapped__()


POINTERS = {"points": "*fp32", "offsets": "*fp32", "weights": "*fp32", "label_map": "*u8", "confidence": "*u8"}
ATTENTION = {"num_points": 4, "positive": True, "smallest_sum": 1e-6, "tile_rows": 4, "tile_channels": 128}
DEFORMABLE = {"num_points": 9, "side": 3, "tile_rows": 32, "tile_channels": 16}
DECISION = {"with_confidence": True, "tile_pixels": 256}


@pytest.mark.skipif(not PTXAS.exists(), reason=f"no assembler at {PTXAS}")
@pytest.mark.parametrize(("dtype", "load"), [("fp32", "v4.b32"), ("bf16", "v2.b32")])
@pytest.mark.parametrize(
    ("module", "name", "constants", "floats"),
    [
        (window_attention_triton, "_forward", ATTENTION, ()),
        (window_attention_triton, "_backward", ATTENTION, ()),
        (deform_conv_triton, "_forward", DEFORMABLE, ()),
        (deform_conv_triton, "_backward", DEFORMABLE, ()),
        (upsample_argmax_triton, "_decide", DECISION, ("rows_per_pixel", "columns_per_pixel")),
    ],
    ids=["attention", "attention backward", "deformable", "deformable backward", "decision"],
)
def test_kernels_compile_for_hopper(monkeypatch, tmp_path, module, name, constants, floats, dtype, load):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(module, name)
    inputs = {"query", "key", "value", "values", "logits", "of_query"}
    sums = {"attended", "total", "gradient", "of_key", "of_value", "of_points", "of_values", "of_offsets", "of_weights"}
    sums |= {"aggregated"}
    signature = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(floats, "fp32")
    signature |= dict.fromkeys(inputs, f"*{dtype}") | dict.fromkeys(sums, "*fp32") | POINTERS
    signature |= dict.fromkeys(constants, "constexpr")
    signature = {name: signature[name] for name in kernel.arg_names}
    aligned = [i for i, name in enumerate(kernel.arg_names) if signature[name].startswith("*") or name == "channels"]
    source = triton.compiler.ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    compiled = triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
    if module is not upsample_argmax_triton:  # four channels to a load
        assert f"ld.global.{load}" in compiled.asm["ptx"]


@pytest.fixture(scope="module")
def benchmark():
    """The script benchmarks/kernels.py."""
    spec = importlib.util.spec_from_file_location("benchmark_of_kernels", ROOT / "benchmarks" / "kernels.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_benchmark_says_what_it_needs(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["kernels.py"])
    assert benchmark.main() == 2
    assert "needs a CUDA device" in capsys.readouterr().err


def test_benchmark_notices_a_wrong_kernel(benchmark):
    generator = torch.Generator().manual_seed(8)
    query, key, value = torch.rand(3, 1, 3, 4, 16, generator=generator)
    inputs = [query, key, value, torch.rand(1, 3, 4, 4, 2, generator=generator) * 3]

    def wrong(*tensors):
        return plain_window_attention(*tensors) * 1.001

    for kernel, right in ((plain_window_attention, True), (wrong, False)):
        for measurement in benchmark._passes("attention", kernel, plain_window_attention, inputs):
            assert (measurement.error <= measurement.allowed) is right
            measurement.kernel()
            measurement.plain()
