import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from sdcpc_core.errors import ConfigError
from sdcpc_core.training.losses import segmentation_loss
from sdcpc_core.training.prototype_losses import (
    MIN_LENGTH,
    ClassPrototypes,
    class_prototypes,
    correct_pixels,
    prototype_contrast,
    prototype_losses,
    variate_redundancy,
)

VOID = 255


def test_correct_pixels_are_those_where_truth_and_prediction_meet():
    # Labels at twice the size of the logits; nearest-exact reads the lower right pixel of each 2x2 block:
    # classes 1, 0, void, 2 against predictions 1, 2, 0, 2, so that the first and the last pixel are right.
    labels = torch.tensor([[[9, 9, 9, 9], [9, 1, 9, 0], [9, 9, 9, 9], [9, VOID, 9, 2]]], dtype=torch.uint8)
    logits = torch.zeros(1, 3, 2, 2)
    for pixel, prediction in enumerate((1, 2, 0, 2)):
        logits[0, prediction, pixel // 2, pixel % 2] = 1
    variates = torch.arange(16.0).view(1, 2, 2, 4)
    features, classes = correct_pixels(variates, logits, labels, num_variates=2, ignore_index=VOID)
    assert classes.tolist() == [1, 2]
    assert features.tolist() == [[[0, 1], [2, 3]], [[12, 13], [14, 15]]]


def test_prototypes_by_hand():
    # Class 0 has the pixels ((1, 2), (0, 0)) and ((3, 4), (2, 6)); their mean is ((2, 3), (1, 3)). Class 1 has none.
    features = torch.tensor([[[1.0, 2], [0, 0]], [[5, 6], [7, 8]], [[3, 4], [2, 6]]])
    prototypes = class_prototypes(features, torch.tensor([0, 2, 0]), num_classes=3)
    assert prototypes.counts.tolist() == [2, 0, 1]
    assert prototypes.means.tolist() == [[[2, 3], [1, 3]], [[0, 0], [0, 0]], [[5, 6], [7, 8]]]


def test_contrast_by_hand():
    # Cosines to p0 = (1, 0) and p1 = (0, 1): the pixel (5, 0) of class 0 has 1 and 0, the pixel (3, 4) of class 1 has
    # 0.6 and 0.8; at tau = 0.5 the loss is log(1 + exp((0 - 1) / 0.5)) and log(1 + exp((0.6 - 0.8) / 0.5)). In the
    # second variate p0 = p1, and both pixels have log(1 + 1). Class 2 is absent and no negative.
    means = torch.tensor([[[2.0, 0], [1, 1]], [[0, 3], [2, 2]], [[0, 0], [0, 0]]])
    prototypes = ClassPrototypes(means, torch.tensor([1.0, 1, 0]))
    features = torch.tensor([[[5.0, 0], [0, 1]], [[3, 4], [7, 0]]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-0.4)) + 2 * math.log(2)) / 4
    loss = prototype_contrast(features, torch.tensor([0, 1]), prototypes, temperature=0.5)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_redundancy_by_hand():
    # The pairs of class 0 have the cosines 0, 1 / sqrt(2), 1 / sqrt(2), those of class 1 have 1, -1, -1; 3 pixels of
    # class 0 and 1 of class 1: (3 * sqrt(2) / 3 + 1 * -1 / 3) / 4.
    means = torch.tensor([[[2.0, 0], [0, 3], [4, 4]], [[1, 0], [2, 0], [-3, 0]], [[0, 0], [0, 0], [0, 0]]])
    loss = variate_redundancy(ClassPrototypes(means, torch.tensor([3.0, 1, 0])))
    assert loss.item() == pytest.approx((math.sqrt(2) - 1 / 3) / 4, abs=1e-6)


def random_pixels(num_variates: int, num_pixels: int = 12, num_classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and classes of correct pixels; the last class is absent."""
    generator = torch.Generator().manual_seed(num_variates)
    features = torch.randn(num_pixels, num_variates, 3, generator=generator, dtype=torch.float64)
    return features, torch.randint(0, num_classes - 1, (num_pixels,), generator=generator)


def both_losses(features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    prototypes = class_prototypes(features, classes, num_classes=5)
    return torch.stack(
        [prototype_contrast(features, classes, prototypes, temperature=0.1), variate_redundancy(prototypes)]
    )


@pytest.mark.parametrize("num_variates", [1, 2, 4])
def test_losses_are_the_sums_the_paper_prints(num_variates):
    features, classes = random_pixels(num_variates)
    present = sorted(set(classes.tolist()))
    unit = nn.functional.normalize
    prototypes = {cls: unit(features[classes == cls].mean(0), dim=-1) for cls in present}
    contrast = redundancy = 0.0
    for pixel, cls in zip(unit(features, dim=-1), classes.tolist(), strict=True):
        for m in range(num_variates):
            negatives = sum(math.exp(pixel[m] @ prototypes[other][m] / 0.1) for other in present if other != cls)
            contrast += math.log(1 + negatives / math.exp(pixel[m] @ prototypes[cls][m] / 0.1))
        pairs = [(i, j) for i in range(num_variates) for j in range(i + 1, num_variates)]
        redundancy += sum(float(prototypes[cls][i] @ prototypes[cls][j]) for i, j in pairs) / max(len(pairs), 1)
    expected = [contrast / (num_variates * len(classes)), redundancy / len(classes)]
    assert both_losses(features, classes).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("num_variates", [1, 2, 4])
def test_gradients_flow_through_pixels_and_prototypes(num_variates):
    features, classes = random_pixels(num_variates)
    assert torch.autograd.gradcheck(lambda pixels: both_losses(pixels, classes), features.requires_grad_())


@pytest.mark.parametrize("num_variates", [1, 2, 4])
def test_neither_the_order_of_pixels_nor_the_length_of_features_matters(num_variates):
    features, classes = random_pixels(num_variates)
    losses, order = both_losses(features, classes), torch.randperm(len(classes))
    torch.testing.assert_close(both_losses(features[order], classes[order]), losses)
    torch.testing.assert_close(both_losses(7 * features, classes), losses)


def test_one_variate_repeats_none():
    assert both_losses(*random_pixels(1))[1] == 0


@pytest.mark.parametrize("num_variates", [1, 4])
@pytest.mark.parametrize("temperature", [1e-3, 0.1])
@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        pytest.param([VOID] * 4, [0, 1, 2, 0], id="all void"),
        pytest.param([0, 1, 2, 0], [1, 2, 0, 1], id="no pixel right"),
        pytest.param([2, 2, VOID, 2], [2, 2, 2, 0], id="one class"),
        pytest.param([0, 1, 2, 0], [0, 1, 2, 0], id="all right"),
    ],
)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_losses_and_gradients_are_finite(labels, predictions, num_variates, temperature, scale):
    variates = (scale * torch.randn(1, 2, 2, 8)).requires_grad_()
    logits = nn.functional.one_hot(torch.tensor(predictions).view(1, 2, 2), 3).permute(0, 3, 1, 2).float()
    contrast, redundancy = prototype_losses(
        variates,
        logits,
        torch.tensor(labels).view(1, 2, 2),
        num_variates=num_variates,
        ignore_index=VOID,
        temperature=temperature,
    )
    (contrast + redundancy).backward()
    assert contrast.isfinite()
    assert redundancy.isfinite()
    assert variates.grad.isfinite().all()
    correct = {label for label, prediction in zip(labels, predictions, strict=True) if label == prediction}
    if len(correct) < 2:
        assert contrast == 0
    if not correct:
        assert (variates.grad == 0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-6, 1e-3])
def test_short_features_have_no_steep_gradients(scale):
    features, classes = random_pixels(4)
    features = (scale * features).requires_grad_()
    both_losses(features, classes).sum().backward()
    # A cosine changes by 1 / MIN_LENGTH at most, the contrast of a pixel by 2 / tau times its cosines.
    assert features.grad.norm() < 2 / 0.1 / MIN_LENGTH


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    features, classes = random_pixels(1)
    prototypes = class_prototypes(features, classes, num_classes=5)
    with pytest.raises(ConfigError, match=f"temperature is {temperature}; it must be above 0"):
        prototype_contrast(features, classes, prototypes, temperature=temperature)


@pytest.mark.parametrize("num_variates", [0, 3])
def test_variates_that_do_not_divide_the_channels_are_refused(num_variates):
    variates, logits, labels = torch.zeros(1, 2, 2, 8), torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2)
    with pytest.raises(ConfigError, match=f"num_variates is {num_variates}; it must divide the 8 channels"):
        correct_pixels(variates, logits, labels, num_variates=num_variates, ignore_index=VOID)


def test_float32_under_autocast():
    features, classes = random_pixels(4)
    features = features.float()
    with torch.autocast("cpu", torch.bfloat16):
        losses = both_losses(features, classes)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, both_losses(features, classes))
    variates, logits = torch.randn(1, 2, 2, 8, dtype=torch.bfloat16), torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16)
    labels = torch.zeros(1, 16, 16, dtype=torch.uint8)
    pixels, _ = correct_pixels(variates, logits, labels, num_variates=2, ignore_index=VOID)
    assert pixels.dtype == torch.float32


# Four images of six pixels; a process takes two of them. Class 3 is right in the second half alone.
LABELS = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, VOID, 0, 1], [0, 3, 3, 3, 3, VOID], [1, 1, 3, 2, 2, VOID]])
PREDICTIONS = {
    "uneven": torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 0, 1], [1, 3, 3, 2, 3, 0], [0, 1, 3, 0, 0, 0]]),
    "one process has none": torch.tensor(
        [[1, 1, 0, 0, 0, 0], [1, 0, 0, 3, 1, 0], [0, 3, 3, 3, 3, 0], [1, 0, 3, 2, 2, 0]]
    ),
    "none right": torch.tensor([[1, 1, 0, 0, 0, 0], [1, 0, 0, 3, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]),
}


def losses_of_share(predictions: torch.Tensor, share: slice, weighted: bool) -> dict[str, torch.Tensor]:
    """Losses, prototypes and gradients of some of the images, in a process group where there is one."""
    torch.manual_seed(0)
    network = nn.Linear(8, 8).double()
    images = torch.randn(4, 1, 6, 8, dtype=torch.float64)[share]
    labels = LABELS[share, None]
    logits = nn.functional.one_hot(predictions[share, None], 4).permute(0, 3, 1, 2).double()
    if dist.is_initialized():
        network = nn.parallel.DistributedDataParallel(network)
    variates = network(images)
    contrast, redundancy = prototype_losses(
        variates, logits, labels, num_variates=2, ignore_index=VOID, temperature=0.1
    )
    cross_entropy = segmentation_loss(
        variates[..., :4].permute(0, 3, 1, 2),
        labels,
        ignore_index=VOID,
        class_weights=torch.tensor([1.0, 2.0, 3.0, 4.0]) if weighted else None,
    )
    (0.3 * contrast + 0.7 * redundancy + 0.5 * cross_entropy).backward()
    pixels = correct_pixels(variates.detach(), logits, labels, num_variates=2, ignore_index=VOID)
    means, counts = class_prototypes(*pixels, num_classes=4)
    gradients = {f"gradient {i}": parameter.grad for i, parameter in enumerate(network.parameters())}
    return {
        "cross_entropy": cross_entropy.detach(),
        "contrast": contrast.detach(),
        "redundancy": redundancy.detach(),
        "means": means,
        "counts": counts,
        **gradients,
    }


def train_beside(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    share = slice(2 * rank, 2 * rank + 2)
    results = {
        (name, weighted): losses_of_share(predictions, share, weighted)
        for name, predictions in PREDICTIONS.items()
        for weighted in (False, True)
    }
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()  # one that leaves while the other is at work may abort
    dist.destroy_process_group()


def test_two_processes_learn_what_one_does(tmp_path):
    torch.multiprocessing.spawn(train_beside, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for case, results in first.items():
        name, weighted = case
        for key, expected in losses_of_share(PREDICTIONS[name], slice(0, 4), weighted).items():
            # The cross-entropy is computed in float32.
            mean = (results[key] + second[case][key]) / 2
            torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-7, msg=f"{case}: {key}")
            if key not in ("contrast", "cross_entropy"):
                assert torch.equal(results[key], second[case][key]), (case, key)
    assert len(first) == 6
    assert first["uneven", False]["counts"].tolist() == [4, 5, 3, 4]
