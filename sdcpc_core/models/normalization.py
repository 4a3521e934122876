"""Input normalisation, inside the network so that a camera's bytes are all that is uploaded."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class ImageNormalization(nn.Module):
    """RGB (B, 3, H, W) in 0..255, uint8 or float -> float32 with ImageNet's mean and deviation, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = images.to(self.mean.dtype).contiguous(memory_format=torch.channels_last)
        return (images - self.mean) / self.std
