"""What a training module computes of one batch, without a run."""

import numpy as np
import pytest
import torch
from moving_frames import wake_alignment
from small_runs import SMALL

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from sdcpc_core.data.clips import ClipSample
from sdcpc_core.labels import CAMVID
from sdcpc_core.models.video_model import split_state
from sdcpc_core.training.config import LossConfig, ModelConfig, TrainConfig
from sdcpc_core.training.losses import segmentation_loss
from sdcpc_core.training.module import SegmentationModule
from sdcpc_core.training.prototype_losses import prototype_losses


def small_module(model: ModelConfig = SMALL, **loss: float) -> SegmentationModule:
    torch.manual_seed(0)
    return SegmentationModule(TrainConfig(model=model, loss=LossConfig(**loss)), torch.ones(11), CAMVID)


def blocks_of_classes(num_frames: int = 3) -> ClipSample:
    """A clip that stands still, each class in a grey of its own."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, (1, 1, 2, 3)).repeat(32, 2).repeat(32, 3)).expand(
        1, num_frames, -1, -1
    )
    return ClipSample(labels[:, :, None].expand(-1, -1, 3, -1, -1).to(torch.uint8) * 60, labels)


UNTRAINED_LOG = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_the_sum_the_paper_prints(temperature):
    module = small_module(
        contrast_weight=0.5, redundancy_weight=2, temperature=temperature, static_weight=0, damaged_share=0
    )
    wake_alignment(module.model)  # and no path is dropped at random
    torch.manual_seed(0)
    torch.nn.init.normal_(module.model.head.decide.weight)  # so that it sees several classes
    logged = {}
    module.log_dict = lambda terms, **_: logged.update(terms)
    frames = torch.randint(0, 256, (1, 3, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    far, near, target = split_state(module.model.encode(frames[0]), 1, 3)
    variates = module.model.head.variates(module.model.aggregate(target, module.model.align_references((near, far))))
    logits = module.model.head.logits(variates)
    # What it sees is the truth, but for the upper left quarter.
    labels = logits.argmax(1).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :32, :48] = 0
    loss = module._clip_loss(ClipSample(frames, labels[:, None].expand(-1, 3, -1, -1)))

    cross_entropy = segmentation_loss(logits, labels, ignore_index=11)
    contrast, redundancy = prototype_losses(
        variates, logits, labels, num_variates=4, ignore_index=11, temperature=temperature
    )
    assert contrast > 1e-3
    assert abs(redundancy) > 1e-3
    expected = {"train/cross_entropy": cross_entropy, "train/contrast": contrast, "train/redundancy": redundancy}
    assert {name: value.item() for name, value in logged.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-4
    )
    # L = L_CE + lambda1 L_CR + lambda2 L_MF
    assert loss.item() == pytest.approx((cross_entropy + 0.5 * contrast + 2 * redundancy).item(), rel=1e-4)


@UNTRAINED_LOG
def test_damage_is_done_to_the_target_alone():
    clip = blocks_of_classes()

    def loss(**options) -> float:
        module = small_module(contrast_weight=0, redundancy_weight=0, **options)
        wake_alignment(module.model)
        torch.manual_seed(0)
        return module._clip_loss(clip).item()

    of_aligned = loss(static_weight=0, damaged_share=0)
    of_damaged = loss(static_weight=0, damaged_share=1)
    assert of_damaged != pytest.approx(of_aligned, rel=1e-4)
    # The cross-entropy of the single frames, on S as it was encoded, is the rest.
    of_frames = loss(static_weight=1, damaged_share=0) - of_aligned
    assert loss(static_weight=1, damaged_share=1) - of_damaged == pytest.approx(of_frames, rel=1e-4)


def test_the_alignment_restores_what_the_target_says_undisturbed():
    clip = blocks_of_classes()

    def loss(**disturbance) -> float:
        quiet = {"damaged_share": 0, "target_noise": 0, "reference_noise": 0, **disturbance}
        module = small_module(**quiet)
        wake_alignment(module.model)  # and no path is dropped at random
        torch.manual_seed(0)
        return module._restoration_loss(clip.frames).item()

    module = small_module()
    logits, alone = (model(clip.frames) for model in (wake_alignment(module.model), small_module().model.eval()))
    expected = -(alone.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    assert loss() == pytest.approx(expected.item(), rel=1e-4)
    for disturbance in ("damaged_share", "target_noise", "reference_noise"):
        assert loss(**{disturbance: 1}) != loss(), disturbance


@UNTRAINED_LOG
def test_without_references_no_frame_counts_twice():
    still = ModelConfig(SMALL.name, {**SMALL.options, "coarse_stage": False, "fine_stage": False})
    with_static, without = (
        small_module(still, static_weight=weight)._clip_loss(blocks_of_classes(num_frames=1)) for weight in (5, 0)
    )
    assert with_static == without


@UNTRAINED_LOG
def test_one_batch_overfits():
    module, clip = small_module(), blocks_of_classes()
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = module._clip_loss(clip)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


@UNTRAINED_LOG
def test_all_void_gives_finite_gradients():
    module = small_module()
    loss = module._clip_loss(
        ClipSample(torch.zeros(1, 3, 3, 32, 64, dtype=torch.uint8), torch.full((1, 3, 32, 64), 255))
    )
    loss.backward()
    assert loss.item() == 0
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
