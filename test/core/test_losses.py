import math

import pytest
import torch

from sdcpc_core.training.losses import balanced_class_weights, segmentation_loss


def test_hand_computed_mean_over_labelled_pixels():
    # One token enlarged to 2x2 keeps its logits: -log softmax is log(1 + e) for class 0, log(1 + e) - 1 for class 1.
    logits = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    labels = torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8)
    first = math.log(1 + math.e)
    loss = segmentation_loss(logits, labels, ignore_index=255)
    assert loss.item() == pytest.approx((first + 2 * (first - 1)) / 3, abs=1e-6)


def test_weights_count_in_numerator_and_denominator():
    logits = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    labels = torch.tensor([[[0, 1], [1, 255]]])
    first = math.log(1 + math.e)
    loss = segmentation_loss(logits, labels, ignore_index=255, class_weights=torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((3 * first + 2 * (first - 1)) / 5, abs=1e-6)


@pytest.mark.parametrize("class_weights", [None, torch.ones(3)])
def test_all_void_is_a_differentiable_zero(class_weights):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 32, 32), 255), ignore_index=255, class_weights=class_weights)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.randn(1, 3, 4, 4, dtype=torch.bfloat16)
    labels = torch.randint(0, 3, (1, 32, 32))
    assert segmentation_loss(logits, labels, ignore_index=255).dtype == torch.float32


def test_balanced_weights_by_hand():
    frequencies = torch.tensor([0.64, 0.16, 0.04, 0.0])
    assert balanced_class_weights(frequencies, 1.0).tolist() == pytest.approx([0.25, 1.0, 4.0, 1.0])
    assert balanced_class_weights(frequencies, 0.5).tolist() == pytest.approx([0.5, 1.0, 2.0, 1.0])
    assert balanced_class_weights(frequencies, 0.0).tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0])
