import math

import pytest
import torch

from sdcpc_core.training.losses import balanced_class_weights, restoration_loss, segmentation_loss


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


def test_restoration_is_the_cross_entropy_against_the_undisturbed_prediction():
    logits = torch.tensor([[0.8, 0.5], [0.2, 0.5]]).log()[None, :, None]  # (1, 2, 1, 2): two tokens
    undisturbed = torch.tensor([[0.75, 0.5], [0.25, 0.5]]).log()[None, :, None].requires_grad_()
    first = -0.75 * math.log(0.8) - 0.25 * math.log(0.2)
    loss = restoration_loss(logits, undisturbed, class_weights=torch.ones(2))
    assert loss.item() == pytest.approx((first + math.log(2)) / 2)
    assert not loss.requires_grad, "what is to be restored does not move"
    # The first token is worth 0.75 + 0.25 * 3, the second 0.5 + 0.5 * 3.
    weighted = restoration_loss(logits, undisturbed, class_weights=torch.tensor([1.0, 3.0]))
    assert weighted.item() == pytest.approx((1.5 * first + 2 * math.log(2)) / 3.5)


@pytest.mark.parametrize("class_weights", [torch.ones(4), torch.tensor([1.0, 9.0, 0.1, 2.0])])
def test_restoration_is_cheapest_when_it_is_reached(class_weights):
    undisturbed = torch.randn(1, 4, 3, 3)
    logits = undisturbed.clone().requires_grad_()
    restoration_loss(logits, undisturbed, class_weights=class_weights).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)
