"""ResNet-18: image -> four feature maps."""

import torch.nn.functional as F
from torch import Tensor, nn

# Names of modules and parameters follow torchvision's files, so that their weights can be matched one to one.

RESNET_DEPTHS = {"18": (2, 2, 2, 2)}
STAGE_CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)), inplace=True)
        return F.relu(self.bn2(self.conv2(features)) + shortcut, inplace=True)


class ResNet(nn.Module):
    """ResNet encoder: image -> four feature maps at strides 4, 8, 16 and 32.

    Args:
        depth: ``"18"``.

    Source: He et al. (arXiv 1512.03385).
    """

    channels = STAGE_CHANNELS

    def __init__(self, depth: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        in_channels = 64
        for stage, (channels, blocks) in enumerate(zip(STAGE_CHANNELS, RESNET_DEPTHS[depth], strict=True)):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(BasicBlock(in_channels, channels, stride=2 if stage > 0 and block == 0 else 1))
                in_channels = channels
            self.add_module(f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images, (B, 3, H, W), into four maps (B, C_s, ceil(H / s), ceil(W / s))."""
        current = F.relu(self.bn1(self.conv1(images)), inplace=True)
        current = F.max_pool2d(current, 3, stride=2, padding=1)
        features = []
        for stage in range(1, 5):
            current = getattr(self, f"layer{stage}")(current)
            features.append(current)
        return features
