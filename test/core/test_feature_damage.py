"""Damage to features of a target frame."""

import pytest
import torch

from sdcpc_core.training.feature_damage import GRAINS, damaged, noisy


def drawn(static, share, seed=0):
    torch.manual_seed(seed)
    return damaged(static, share)


@pytest.mark.parametrize("size_hw", [(36, 48), (8, 5), (2, 2), (2, 1)])
def test_damage_is_rectangles_of_any_map(size_hw):
    static = torch.randn(16, *size_hw, 8)
    changed = (drawn(static, 1.0) != static).any(-1)
    assert changed.flatten(1).any(1).all()
    if min(size_hw) > 8:
        assert 0.05 < changed.float().mean() < 0.6


def test_the_share_of_damaged_maps_is_the_one_asked_for():
    static = torch.randn(400, 4, 4, 2)
    touched = (drawn(static, 0.25) != static).flatten(1).any(1)
    assert 0.18 < touched.float().mean() < 0.32
    torch.testing.assert_close(drawn(static, 0.0), static, rtol=0, atol=0)


def test_noise_has_the_scale_of_the_features_it_covers():
    static = torch.randn(64, 24, 24, 4) * torch.tensor([0.1, 1.0, 10.0, 100.0]) + torch.tensor([5.0, -5.0, 0.0, 1000.0])
    difference = drawn(static, 1.0) - static
    deviation = difference[(difference != 0).any(-1)].std(0)
    # Added noise deviates by one standard deviation of the map, noise in its place by the square root of two.
    ratio = deviation / torch.tensor([0.1, 1.0, 10.0, 100.0])
    assert (ratio > 0.95).all()
    assert (ratio < 1.8).all()


def test_damage_is_the_same_in_a_resumed_run_and_leaves_its_input_alone():
    static = torch.randn(4, 12, 16, 8)
    before = static.clone()
    torch.testing.assert_close(drawn(static, 0.5, 7), drawn(static, 0.5, 7), rtol=0, atol=0)
    assert not torch.equal(drawn(static, 1.0, 7), drawn(static, 1.0, 8))
    torch.testing.assert_close(static, before, rtol=0, atol=0)


def test_features_outside_the_rectangles_learn_as_before():
    static = torch.randn(4, 12, 16, 8, requires_grad=True)
    result = drawn(static, 1.0)
    kept = (result == static).all(-1, keepdim=True)
    result.sum().backward()
    assert (static.grad[kept.expand_as(static)] == 1).all()
    replaced = static.grad[~kept.expand_as(static)]
    assert set(replaced.unique().tolist()) == {0.0, 1.0}  # in place of the features, or added to them


def test_noise_is_as_strong_as_drawn_for_each_map():
    static = torch.randn(64, 48, 48, 4) * torch.tensor([0.1, 1.0, 10.0, 100.0])
    torch.manual_seed(0)
    ratio = (noisy(static, 2.0) - static).std((1, 2)) / static.std((1, 2))
    assert (ratio.amax(1) / ratio.amin(1) < 2).all(), "the same in all channels, as far as few grains tell"
    assert 0 < ratio.min() < 0.3
    assert 1.7 < ratio.max() < 2.5
    torch.testing.assert_close(noisy(static, 0.0), static, rtol=0, atol=0)


@pytest.mark.parametrize("size_hw", [(9, 7), (1, 2)])
def test_noise_comes_in_grains_of_any_map(size_hw):
    static = torch.randn(1, *size_hw, 2)
    grains = set()
    for seed in range(20):
        torch.manual_seed(seed)
        noise = noisy(static, 1.0) - static
        grains |= {grain for grain in GRAINS if torch.allclose(noise[:, :grain, :grain], noise[:, :1, :1], atol=1e-5)}
        assert noise.shape == static.shape
        assert noise.abs().amin() > 0
    assert grains == set(GRAINS)
