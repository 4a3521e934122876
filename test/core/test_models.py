import pytest
import torch
from moving_frames import perturb_selectors

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.models import MODEL_NAMES, build_model
from sdcpc_core.models.dssa import DSSA, Difference
from sdcpc_core.models.prototypes import MultivariateHead
from sdcpc_core.models.ssea import LinearAttention


def random_clip(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_gives_logits_at_stride_8(name):
    model = build_model(name, 5).eval()
    with torch.inference_mode():
        logits = model(random_clip(1, 3, 3, 64, 96))
    assert logits.shape == (1, 5, 8, 12)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 47), (40, 250), (97, 64), (127, 129)])
@pytest.mark.parametrize("name", ["sdcpc_mit_b0", "sdcpc_resnet18"])
def test_any_size_from_32_up(name, size_hw):
    model = build_model(name, 3).eval()
    with torch.inference_mode():
        logits = model(random_clip(2, 3, 3, *size_hw))
    assert logits.shape[2:] == (-(-size_hw[0] // 8), -(-size_hw[1] // 8))


def test_the_published_size_of_b1():
    # Table 1 gives 15.0 M parameters with VSPW's 124 classes.
    parameters = sum(p.numel() for p in build_model("sdcpc_mit_b1", 124).parameters())
    assert parameters == pytest.approx(15.0e6, rel=0.02)


def test_a_clip_of_one_frame_is_its_own_reference():
    model = perturb_selectors(build_model("sdcpc_mit_b0", 4))
    frame = random_clip(1, 1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(frame), model(frame.repeat(1, 3, 1, 1, 1)))


@pytest.mark.parametrize("name", ["sdcpc_mit_b0", "sdcpc_resnet18"])
def test_references_and_their_order_matter(name):
    model = perturb_selectors(build_model(name, 4))
    clip = random_clip(1, 3, 3, 64, 96)
    with torch.inference_mode():
        logits = model(clip)
        assert (model(clip[:, [1, 0, 2]]) - logits).abs().max() > 1e-3
        assert (model(clip[:, [2, 2, 2]]) - logits).abs().max() > 1e-3


def test_a_batch_is_its_clips():
    model = perturb_selectors(build_model("sdcpc_mit_b0", 4))
    clips = random_clip(3, 3, 3, 40, 56)
    with torch.inference_mode():
        together = model(clips)
        apart = torch.cat([model(clip[None]) for clip in clips])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    model = perturb_selectors(build_model("sdcpc_mit_b0", 4, num_points=9)).train()
    for layer in (model.ssea.dcn.dcn.offset, model.ssea.dcn.dcn.modulation):
        torch.nn.init.normal_(layer.weight)  # zero at the start, which hides what lies before
    model(random_clip(2, 3, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("difference", list(Difference))
def test_differences_see_both_frames_without_shifting_the_map(difference):
    stage = DSSA(16, 4, difference).coarse.selector
    torch.nn.init.normal_(stage.locate.weight)
    base = torch.zeros(1, 6, 6, 16)
    for which in range(2):
        pair = [base, base]
        pair[which] = base.clone()
        pair[which][0, 3, 3] = 1.0
        change = (stage(*pair) - stage(base, base)).abs().sum((0, 3, 4))
        rows, columns = change.nonzero(as_tuple=True)
        assert change[3, 3] > 0
        assert rows.min() >= 1
        assert rows.max() <= 5
        assert columns.min() >= 1
        assert columns.max() <= 5


def test_linear_attention_is_its_quadratic_form():
    layer = LinearAttention(8, num_heads=2)
    tokens = torch.randn(1, 3, 4, 8)
    query, key, value = (
        part.view(12, 2, 4).transpose(0, 1) for part in layer.qkv(layer.norm(tokens)).view(12, 24).split(8, dim=-1)
    )
    similarity = (torch.nn.functional.elu(query) + 1) @ (torch.nn.functional.elu(key) + 1).transpose(1, 2)
    expected = similarity / similarity.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(layer(tokens) - tokens, expected.transpose(0, 1).reshape(1, 3, 4, 8))


def test_features_far_below_zero_give_no_nan():
    layer = LinearAttention(8, num_heads=2)
    torch.nn.init.constant_(layer.qkv.bias, -60.0)
    assert layer(torch.randn(1, 3, 4, 8)).isfinite().all()


def test_head_starts_as_the_mean_of_its_variates_votes():
    head = MultivariateHead(8, 3, num_variates=4)
    aligned = torch.randn(1, 2, 2, 8)
    votes = head.classify(head.variates(aligned).permute(0, 3, 1, 2)).view(1, 4, 3, 2, 2)
    torch.testing.assert_close(head(aligned), votes.mean(1))


@pytest.mark.parametrize("part", ["encode", "align"])
def test_both_halves_can_be_exported(part):
    model = perturb_selectors(build_model("sdcpc_mit_b0", 3))
    state = model.encode(random_clip(1, 3, 64, 64))

    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            return getattr(self.model, part)(*inputs)

    inputs = (random_clip(1, 3, 64, 64, seed=1),) if part == "encode" else (state, [state, state])
    with torch.inference_mode():
        exported = torch.export.export(Half(), inputs).module()(*inputs)
        torch.testing.assert_close(tuple(exported), tuple(Half()(*inputs)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sdcpc_vgg", {}, "no model 'sdcpc_vgg'; there are sdcpc_mit_b0"),
        ("sdcpc_mit_b0", {"num_pints": 4}, "no option num_pints; it has channels, num_points"),
        ("sdcpc_mit_b0", {"num_points": 5}, "square"),
        ("sdcpc_mit_b0", {"num_points": 4.0}, "whole number"),
        ("sdcpc_mit_b0", {"channels": "x"}, "channels is 'x'"),
        ("sdcpc_mit_b0", {"channels": 132}, "divisible by 8 heads"),
        ("sdcpc_mit_b0", {"num_variates": 3}, "divisible by 8 heads and 3 variates"),
        ("sdcpc_mit_b0", {"reference_ages_s": (0.2, float("inf"))}, "two ages"),
        ("sdcpc_mit_b0", {"reference_ages_s": 0.2}, "two ages"),
        ("sdcpc_mit_b0", {"reference_ages_s": (0.4, 0.2)}, "the nearer first"),
    ],
)
def test_settings_that_cannot_work_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build_model(name, 3, **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 3, 64, 64), "2 frames; the model takes 3"),
        ((1, 4, 3, 64, 64), "4 frames"),
        ((1, 3, 1, 64, 64), r"shape \(B, T, 3, H, W\)"),
        ((3, 3, 64, 64), r"shape \(B, T, 3, H, W\)"),
        ((1, 3, 3, 31, 64), "31x64 pixels; height and width must be at least 32"),
    ],
)
def test_clips_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        build_model("sdcpc_mit_b0", 3)(torch.zeros(shape, dtype=torch.uint8))
