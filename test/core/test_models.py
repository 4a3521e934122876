import pytest
import torch
from moving_frames import wake_alignment

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.models import MODEL_NAMES, build_model
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.models.dssa import Difference, PointSelector
from sdcpc_core.models.prototypes import MultivariateHead
from sdcpc_core.models.ssea import LinearAttention
from sdcpc_core.ops.deform_conv import regular_grid


def random_clip(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


SMALL_MODELS = ["sdcpc_mit_b0", "sdcpc_resnet18", "sdcpc_resnet50", "segformer_mit_b0", "segformer_resnet18"]
ABLATIONS = [
    {"multi_scale": False},
    {"deformable_convolution": False},
    {"linear_attention": False},
    {"coarse_stage": False},
    {"fine_stage": False},
    {"multi_scale": False, "deformable_convolution": False, "linear_attention": False},
    {"coarse_stage": False, "fine_stage": False},
    {"interleave": "columns"},
    {"weighting": "raw"},
    *({"num_points": num_points} for num_points in (9, 16)),
    *({"num_variates": num_variates} for num_variates in (1, 2)),
]


def clip_for(model, *size_hw, batch=1):
    return random_clip(batch, 1 + len(model.reference_ages_s), 3, *size_hw)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_parts_hold_every_parameter_once(name):
    with torch.device("meta"):
        model = build_model(name, 5)
    parts = [id(parameter) for part in model.parts.values() for parameter in part.parameters()]
    assert sorted(parts) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_logits_are_finite_and_come_at_the_model_s_stride(name):
    model = build_model(name, 5).eval()
    with torch.inference_mode():
        logits = model(clip_for(model, 64, 96))
    assert logits.shape == (1, 5, 64 // model.stride, 96 // model.stride)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 47), (40, 250), (97, 64), (127, 129)])
@pytest.mark.parametrize("name", SMALL_MODELS)
def test_any_size_from_32_up(name, size_hw):
    model = build_model(name, 3).eval()
    with torch.inference_mode():
        logits = model(clip_for(model, *size_hw, batch=2))
    assert logits.shape[2:] == tuple(-(-side // model.stride) for side in size_hw)


@pytest.mark.parametrize("options", ABLATIONS, ids=str)
def test_parts_can_be_left_out_and_chosen(options):
    whole, model = build_model("sdcpc_mit_b0", 3), build_model("sdcpc_mit_b0", 3, **options)
    assert model.options == {**whole.options, **options}
    logits = model(clip_for(model, 64, 96))
    assert logits.shape == (1, 3, 8, 12)
    assert logits.isfinite().all()
    logits.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("options", [{"interleave": "columns"}, {"weighting": "raw"}], ids=str)
def test_choices_without_parameters_change_the_answer(options):
    default = wake_alignment(build_model("sdcpc_mit_b0", 3))
    other = build_model("sdcpc_mit_b0", 3, **options).eval()
    if options == {"interleave": "columns"}:
        # Its kernels look along the other axis, and not so far that they see nothing.
        default.dssa.coarse.selector.perceive.weight.data.normal_(std=0.03)
    other.load_state_dict(default.state_dict())
    with torch.inference_mode():
        clip = random_clip(1, 3, 3, 64, 96)
        assert (other(clip) - default(clip)).abs().max() > 1e-4


def test_columns_of_a_map_are_rows_of_the_map_on_its_side():
    rows, columns = PointSelector(16, 4, Difference.ROWS), PointSelector(16, 4, Difference.COLUMNS)
    torch.nn.init.normal_(rows.locate.weight)
    columns.load_state_dict({k: v.mT if k.endswith("weight") else v for k, v in rows.state_dict().items()})
    target, reference = torch.randn(2, 1, 5, 7, 16)
    start = regular_grid(5, 7, 4, torch.device("cpu"))
    offsets = rows(target, reference) - start
    on_its_side = columns(target.transpose(1, 2), reference.transpose(1, 2)) - regular_grid(7, 5, 4, start.device)
    torch.testing.assert_close(on_its_side.transpose(1, 2), offsets)


def test_selectors_that_look_far_outside_do_no_harm():
    for weighting in ("positive", "raw"):
        model = build_model("sdcpc_mit_b0", 3, weighting=weighting)
        for stage in (model.dssa.coarse, model.dssa.fine):
            torch.nn.init.constant_(stage.selector.locate.bias, 100.0)
        assert model(clip_for(model, 64, 96)).isfinite().all()


def test_alignment_starts_as_the_identity_on_the_target():
    dssa = build_model("sdcpc_mit_b0", 3).dssa
    target, near, far = torch.randn(3, 2, 4, 6, 128)
    torch.testing.assert_close(dssa(target, near, far), target, rtol=0, atol=0)


def test_two_stages_are_the_four_units_of_the_paper():
    dssa = wake_alignment(build_model("sdcpc_mit_b0", 3)).dssa
    coarse, fine = dssa.coarse, dssa.fine
    assert (coarse.selector.difference, fine.selector.difference) == (Difference.ROWS, Difference.SUBTRACTION)
    target, near, far = torch.randn(3, 1, 4, 6, 128)
    related = coarse(near, far)
    expected = fine(coarse(target, related), fine(related, far))
    torch.testing.assert_close(dssa(target, near, far), expected)
    assert (expected - fine(coarse(target, related), fine(near, far))).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["sdcpc_mit_b0", "segformer_resnet18"])
def test_double_precision_agrees(name):
    model = wake_alignment(build_model(name, 3))
    clip = clip_for(model, 64, 97)
    with torch.inference_mode():
        single = model(clip)
        double = model.double()(clip.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)


def test_a_stage_left_out_hands_on_its_target():
    model = wake_alignment(build_model("sdcpc_mit_b0", 3, fine_stage=False))
    target, near, far = torch.randn(3, 1, 4, 4, 128)
    expected = model.dssa.coarse(target, model.dssa.coarse(near, far))
    torch.testing.assert_close(model.dssa(target, near, far), expected)
    model = wake_alignment(build_model("sdcpc_mit_b0", 3, coarse_stage=False))
    expected = model.dssa.fine(target, model.dssa.fine(near, far))
    torch.testing.assert_close(model.dssa(target, near, far), expected)


def test_without_both_stages_there_are_no_references():
    model = build_model("sdcpc_mit_b0", 3, coarse_stage=False, fine_stage=False)
    assert model.reference_ages_s == ()
    with pytest.raises(InputError, match=r"3 frames; the model takes 1$"):
        model(random_clip(1, 3, 3, 64, 64))


@pytest.mark.parametrize("name", ["mit_b0", "mit_b1", "resnet18", "resnet50", "resnet101"])
def test_published_sizes_of_encoders(name):
    # NVlabs and torchvision, millions, without the ImageNet classifiers.
    published = {"mit_b0": 3.32, "mit_b1": 13.15, "resnet18": 11.18, "resnet50": 23.51, "resnet101": 42.50}
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(published[name], abs=0.01)


def test_the_published_size_of_b1():
    # Table 1 gives 15.0 M parameters with VSPW's 124 classes.
    parameters = sum(p.numel() for p in build_model("sdcpc_mit_b1", 124).parameters())
    assert parameters == pytest.approx(15.0e6, rel=0.02)


def test_a_clip_of_one_frame_is_its_own_reference():
    model = wake_alignment(build_model("sdcpc_mit_b0", 4))
    frame = random_clip(1, 1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(frame), model(frame.repeat(1, 3, 1, 1, 1)))


@pytest.mark.parametrize("name", ["sdcpc_mit_b0", "sdcpc_resnet18"])
def test_references_and_their_order_matter(name):
    model = wake_alignment(build_model(name, 4))
    clip = random_clip(1, 3, 3, 64, 96)
    with torch.inference_mode():
        logits = model(clip)
        assert (model(clip[:, [1, 0, 2]]) - logits).abs().max() > 1e-3
        assert (model(clip[:, [2, 2, 2]]) - logits).abs().max() > 1e-3


def test_a_batch_is_its_clips():
    model = wake_alignment(build_model("sdcpc_mit_b0", 4))
    clips = random_clip(3, 3, 3, 40, 56)
    with torch.inference_mode():
        together = model(clips)
        apart = torch.cat([model(clip[None]) for clip in clips])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_fusion_gives_all_channels_of_a_batch_one_scale():
    fusion = build_model("sdcpc_resnet18", 3).ssea.fusion.train()
    projected = []
    fusion.project.conv.register_forward_hook(lambda module, inputs, output: projected.append(output))
    widths, scales = (64, 128, 256, 512), (4, 8, 16, 32)
    features = [
        10.0**scale * torch.randn(2, c, 64 // s, 96 // s)
        for scale, (c, s) in enumerate(zip(widths, scales, strict=True))
    ]
    tokens = fusion(features)
    assert tokens.shape == (2, 8, 12, 128)
    (channels,) = (output.permute(0, 2, 3, 1) for output in projected)
    unit = (channels - channels.mean((0, 1, 2))) / channels.std((0, 1, 2), correction=0)
    torch.testing.assert_close(tokens, unit.clamp_min(0), atol=1e-3, rtol=1e-3)
    # In use the statistics are those of training, whatever the frame.
    fusion.eval()
    torch.testing.assert_close(fusion([f[:1] for f in features]), fusion(features)[:1], atol=1e-4, rtol=1e-4)


def test_in_training_the_linear_attention_is_there_or_is_not():
    torch.manual_seed(0)
    attention = build_model("sdcpc_resnet18", 3).ssea.la
    tokens = torch.randn(1, 6, 8, 128).expand(64, -1, -1, -1)
    with_it = attention.eval()(tokens)[0]
    assert not torch.equal(with_it, tokens[0])
    samples = attention.train()(tokens)
    assert 16 < sum(torch.equal(sample, with_it) for sample in samples) < 48
    assert all(torch.equal(sample, with_it) != torch.equal(sample, tokens[0]) for sample in samples)


def test_every_parameter_learns():
    model = wake_alignment(build_model("sdcpc_mit_b0", 4, num_points=9)).train()
    for layer in (model.ssea.dcn.dcn.offset, model.ssea.dcn.dcn.modulation):
        torch.nn.init.normal_(layer.weight)  # zero at the start, which hides what lies before
    model(random_clip(2, 3, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("difference", list(Difference))
def test_differences_see_both_frames_without_shifting_the_map(difference):
    stage = PointSelector(16, 4, difference)
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
    layer = LinearAttention(8, num_heads=2).eval()
    tokens = torch.randn(1, 3, 4, 8)
    query, key, value = (
        part.view(12, 2, 4).transpose(0, 1) for part in layer.qkv(layer.norm(tokens)).view(12, 24).split(8, dim=-1)
    )
    similarity = (torch.nn.functional.elu(query) + 1) @ (torch.nn.functional.elu(key) + 1).transpose(1, 2)
    expected = similarity / similarity.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(layer(tokens) - tokens, expected.transpose(0, 1).reshape(1, 3, 4, 8))


def test_features_far_below_zero_give_no_nan():
    layer = LinearAttention(8, num_heads=2).eval()
    torch.nn.init.constant_(layer.qkv.bias, -60.0)
    assert layer(torch.randn(1, 3, 4, 8)).isfinite().all()


@pytest.mark.parametrize("num_variates", [1, 2, 4])
def test_head_starts_as_the_mean_of_its_variates_votes(num_variates):
    head = MultivariateHead(8, 3, num_variates)
    aligned = torch.randn(1, 2, 2, 8)
    votes = head.classify(head.variates(aligned).permute(0, 3, 1, 2)).view(1, num_variates, 3, 2, 2)
    torch.testing.assert_close(head(aligned), votes.mean(1))


@pytest.mark.parametrize("part", ["encode", "align_references", "align_target"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sdcpc_mit_b0", {}),
        ("sdcpc_resnet18", {"interleave": "columns", "weighting": "raw", "num_points": 9, "num_variates": 1}),
        ("sdcpc_mit_b0", {"coarse_stage": False, "fine_stage": False, "deformable_convolution": False}),
        ("segformer_mit_b0", {}),
    ],
)
def test_every_part_can_be_exported(name, options, part):
    model = wake_alignment(build_model(name, 3, **options))
    state = model.encode(random_clip(1, 3, 64, 64))
    references = [state] * len(model.reference_ages_s)

    class Part(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            return getattr(self.model, part)(*inputs)

    inputs = {
        "encode": (random_clip(1, 3, 64, 64, seed=1),),
        "align_references": (references,),
        "align_target": (state, model.align_references(references)),
    }[part]
    expected = Part()(*inputs)  # with gradients: without, a CPU has layers of its own, which round otherwise
    with torch.inference_mode():
        exported = torch.export.export(Part(), inputs).module()(*inputs)
        torch.testing.assert_close(tuple(exported), tuple(expected))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sdcpc_vgg", {}, "no model 'sdcpc_vgg'; there are sdcpc_mit_b0"),
        ("sdcpc_mit_b0", {"num_pints": 4}, "no option num_pints; it has channels, coarse_stage"),
        ("sdcpc_mit_b0", {"num_points": 5}, "square"),
        ("sdcpc_mit_b0", {"num_points": 4.0}, "whole number"),
        ("sdcpc_mit_b0", {"channels": "x"}, "channels is 'x'"),
        ("sdcpc_mit_b0", {"channels": 132}, "divisible by 8 heads"),
        ("sdcpc_mit_b0", {"num_variates": 3}, "divisible by 8 heads and 3 variates"),
        ("sdcpc_mit_b0", {"interleave": "diagonals"}, "interleave is 'diagonals'; it must be rows or columns"),
        ("sdcpc_mit_b0", {"weighting": None}, "weighting is None; it must be positive or raw"),
        ("sdcpc_mit_b0", {"linear_attention": "no"}, "linear_attention is 'no'; it must be true or false"),
        ("segformer_mit_b0", {"channels": 128}, "no option channels; it has decoder_channels"),
        ("segformer_mit_b0", {"decoder_channels": 0}, "decoder_channels is 0"),
        ("sdcpc_mit_b0", {"reference_ages_s": (0.2, float("inf"))}, "two ages"),
        ("sdcpc_mit_b0", {"reference_ages_s": 0.2}, "two ages"),
        ("sdcpc_mit_b0", {"reference_ages_s": ["0.2", "0.4"]}, "two ages"),
        ("sdcpc_mit_b0", {"reference_ages_s": [True, 2]}, "two ages"),
        ("sdcpc_mit_b0", {"num_points": 10**48}, "up to 256"),
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


@pytest.mark.parametrize("name", ["sdcpc_mit_b0", "segformer_mit_b0"])
@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 64, 64), (1, 3, 16, 64)])
def test_images_that_do_not_fit_are_refused(name, shape):
    with pytest.raises(InputError):
        build_model(name, 3).encode(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize(("name", "wanted"), [("sdcpc_mit_b0", 2), ("segformer_mit_b0", 0)])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_another_number_of_references_is_refused(name, wanted, count):
    model = build_model(name, 3).eval()
    state = model.encode(random_clip(1, 3, 64, 64))
    if count != wanted:
        with pytest.raises(InputError, match=f"{count} references; the model takes {wanted}"):
            model.align(state, [state] * count)


@pytest.mark.parametrize("num_classes", [0, -1, 2.5, "5", True])
def test_a_number_of_classes_is_a_whole_number(num_classes):
    with pytest.raises(ConfigError, match="num_classes is"):
        build_model("sdcpc_mit_b0", num_classes)
