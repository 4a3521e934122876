"""Counted costs against naive counts: layers by hooks and hand formulas, products and sampling by loops."""

import functools

import pytest
import torch
from torch import nn

from sdcpc_core.cost import Cost, Operations, model_cost
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.models import build_model
from sdcpc_core.models.mit import EfficientAttention
from sdcpc_core.models.ssea import DCNv3, LinearAttention


def on_meta(name: str, **options):
    with torch.device("meta"):
        return build_model(name, 7, **options)


def naive_macs_of_layers(model: nn.Module, size_hw: tuple[int, int], frames: int) -> int:
    """Run the model for real and add up its layers by hand."""
    macs = []

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(module, nn.Linear):
            macs.append(output.numel() * module.in_features)
        else:
            height, width = module.kernel_size
            macs.append(output.numel() * height * width * module.in_channels // module.groups)

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    # With gradients: without, a CPU computes some layers together with what follows them.
    model.eval()(torch.zeros(1, frames, 3, *size_hw, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(macs)


@pytest.mark.parametrize(
    ("name", "options", "size_hw"),
    [
        ("sdcpc_mit_b0", {}, (64, 96)),
        ("sdcpc_mit_b0", {"num_points": 9, "num_variates": 2, "channels": 64}, (50, 77)),
        ("sdcpc_resnet18", {"interleave": "columns", "linear_attention": False}, (33, 95)),
        ("sdcpc_mit_b0", {"coarse_stage": False, "fine_stage": False, "multi_scale": False}, (64, 64)),
        ("segformer_mit_b0", {}, (61, 70)),
        ("segformer_resnet50", {"decoder_channels": 32}, (64, 64)),
    ],
)
def test_layers_are_those_a_naive_count_finds(name, options, size_hw):
    cost = model_cost(on_meta(name, **options), size_hw)
    model = build_model(name, 7, **options)
    assert cost.frames == 1 + len(model.reference_ages_s)
    assert cost.total.params == sum(p.numel() for p in model.parameters())
    assert cost.total.stream.layers == naive_macs_of_layers(model, size_hw, 1)
    assert cost.total.clip.layers == naive_macs_of_layers(model, size_hw, cost.frames)


def softmax_attention_macs(queries: int, keys: int, channels: int) -> int:
    return sum(channels + channels for _ in range(queries) for _ in range(keys))  # a weight, then a weighted value


def test_attention_products_of_the_encoder():
    """A frame of 64x64: maps of 16x16, 8x8, 4x4 and 2x2 tokens, each with 2x2 keys."""
    blocks = [m for m in on_meta("sdcpc_mit_b0").modules() if isinstance(m, EfficientAttention)]
    assert len(blocks) == 8
    by_hand = 2 * sum(softmax_attention_macs(n, 4, c) for n, c in ((256, 32), (64, 64), (16, 160), (4, 256)))
    encoder = model_cost(on_meta("sdcpc_mit_b0"), (64, 64)).parts["encoder"]
    assert encoder.stream.attention == by_hand
    assert encoder.clip == functools.reduce(lambda a, b: a + b, [encoder.stream] * 3)


def test_products_of_linear_attention():
    """Per head of width w: keys times values (w x w), queries times that, queries times the sum of keys (w)."""
    cost = model_cost(on_meta("sdcpc_mit_b0", channels=64), (40, 64)).parts["LA"]
    tokens, heads, width = 5 * 8, 8, 8
    by_hand = sum(width * width + width * width + width for _ in range(tokens) for _ in range(heads))
    assert cost.stream.attention == by_hand
    assert cost.stream.layers == tokens * 64 * 3 * 64
    assert cost.params == sum(p.numel() for p in LinearAttention(64, 8).parameters())


def test_sampling_of_the_deformable_convolution():
    cost = model_cost(on_meta("sdcpc_mit_b0", channels=64), (40, 64)).parts["DCN"]
    corners = sum(4 for _ in range(DCNv3.NUM_POINTS))
    assert cost.stream.sampling == sum(corners * 64 for _ in range(5 * 8))
    assert cost.stream.attention == 0


@pytest.mark.parametrize("points", [1, 4, 16])
def test_sampling_and_products_of_eq_2(points):
    """Two units a stage: each token reads P keys and P values from four corners and multiplies P keys."""
    cost = model_cost(on_meta("sdcpc_mit_b0", num_points=points, channels=64), (40, 64))
    tokens = 5 * 8
    for stage in ("DSSA stage 1", "DSSA stage 2"):
        assert cost.parts[stage].stream.sampling == 2 * sum(2 * 4 * 64 for _ in range(tokens) for _ in range(points))
        assert cost.parts[stage].stream.attention == 2 * sum(64 for _ in range(tokens) for _ in range(points))
        assert cost.parts[stage].stream == cost.parts[stage].clip


def test_a_stream_encodes_one_frame_and_aligns_as_a_clip_does():
    cost = model_cost(on_meta("sdcpc_mit_b0"), (64, 96))
    assert cost.total.stream.macs < cost.total.clip.macs
    for name in ("encoder", "fusion", "DCN", "LA"):
        assert cost.parts[name].clip.macs == 3 * cost.parts[name].stream.macs
    assert cost.parts["head"].clip == cost.parts["head"].stream


def test_kinds_and_costs_add_up():
    one, two = Operations(1, 10, 100), Operations(2, 20, 200)
    assert one + two == Operations(3, 30, 300)
    assert (one.macs, one.macs_with_attention) == (11, 111)
    assert Cost(5, one, two) + Cost(6, two, one) == Cost(11, one + two, one + two)


def test_one_frame_is_a_stream():
    cost = model_cost(on_meta("sdcpc_mit_b0"), (64, 64), frames=1)
    assert cost.total.clip == cost.total.stream


def test_the_model_is_left_as_it_is():
    model = build_model("sdcpc_resnet18", 7).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model_cost(model, (32, 32))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("frames", [0, 2, 4])
def test_only_whole_clips_are_counted(frames):
    with pytest.raises(ConfigError, match=f"cannot take {frames} frames; it takes 3 or 1"):
        model_cost(on_meta("sdcpc_mit_b0"), (64, 64), frames)


def test_small_frames_are_refused():
    with pytest.raises(InputError, match="31x64"):
        model_cost(on_meta("sdcpc_mit_b0"), (31, 64))
