"""Frames in which everything moves, and weights that cannot hide a wrong reference."""

import numpy as np
import torch

from sdcpc_core.models.dssa import SelectiveCrossAttention
from sdcpc_core.models.video_model import VideoModel


def moving_frames(count: int, size_hw: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """A window sliding over a random picture: (H, W, 3) uint8 frames."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    coarse = rng.integers(0, 256, (height // 4 + count, width // 4 + count, 3), np.uint8)
    picture = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return [np.ascontiguousarray(picture[3 * i : 3 * i + height, 2 * i : 2 * i + width]) for i in range(count)]


def wake_alignment(model: VideoModel, seed: int = 0) -> VideoModel:
    """Draw what starts at zero in the alignment: until then references change nothing and are looked at alike."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, SelectiveCrossAttention):
            for parameter in module.selector.locate.parameters():
                parameter.data.normal_(std=0.3, generator=generator)
            for last in (module.output, module.ffn.mlp[-1]):
                last.weight.data.normal_(std=last.in_features**-0.5, generator=generator)
    return model.eval()
