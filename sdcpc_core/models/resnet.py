"""ResNet-18, -50 and -101: image -> four feature maps."""

import torch.nn.functional as F
from torch import Tensor, nn

# Names of modules and parameters follow torchvision's files, so that their weights can be matched one to one.

RESNET_DEPTHS = {"18": (2, 2, 2, 2), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}
STAGE_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    EXPANSION = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)), inplace=True)
        return F.relu(self.bn2(self.conv2(features)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, and a shortcut; the 3x3 has the stride, as in torchvision."""

    EXPANSION = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)), inplace=True)
        features = F.relu(self.bn2(self.conv2(features)), inplace=True)
        return F.relu(self.bn3(self.conv3(features)) + shortcut, inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class ResNet(nn.Module):
    """ResNet encoder: image -> four feature maps at strides 4, 8, 16 and 32.

    Args:
        depth: ``"18"``, ``"50"`` or ``"101"``.

    Source: He et al. (arXiv 1512.03385).
    """

    def __init__(self, depth: str) -> None:
        super().__init__()
        block = BasicBlock if depth == "18" else Bottleneck
        self.channels = tuple(width * block.EXPANSION for width in STAGE_WIDTHS)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        in_channels = 64
        for stage, (width, blocks) in enumerate(zip(STAGE_WIDTHS, RESNET_DEPTHS[depth], strict=True)):
            layer = nn.Sequential()
            for index in range(blocks):
                layer.append(block(in_channels, width, stride=2 if stage > 0 and index == 0 else 1))
                in_channels = width * block.EXPANSION
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
