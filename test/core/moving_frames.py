"""Frames in which everything moves, and weights that cannot hide a wrong reference."""

import numpy as np
import torch

from sdcpc_core.models.dssa import PointSelector
from sdcpc_core.models.video_model import VideoModel


def moving_frames(count: int, size_hw: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """A window sliding over a random picture: (H, W, 3) uint8 frames."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    coarse = rng.integers(0, 256, (height // 4 + count, width // 4 + count, 3), np.uint8)
    picture = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return [np.ascontiguousarray(picture[3 * i : 3 * i + height, 2 * i : 2 * i + width]) for i in range(count)]


def perturb_selectors(model: VideoModel, seed: int = 0) -> VideoModel:
    """Move the zero-initialised selectors: at their start every reference is looked at alike."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, PointSelector):
            for parameter in module.locate.parameters():
                parameter.data.normal_(std=0.3, generator=generator)
    return model.eval()
