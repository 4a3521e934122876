"""SegFormer: the per-frame baseline, an encoder and a decoder of linear layers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.models.layers import Linear, LinearFuse
from sdcpc_core.models.normalization import ImageNormalization
from sdcpc_core.models.video_model import VideoModel, check_images

# Names of modules and parameters are NVlabs', so that a reader of their files finds their way.

WIDE_DECODER_BACKBONES = ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
"""Their decoder is 768 wide in the released models, that of the others 256."""


@dataclass(frozen=True)
class SegFormerOptions:
    """What can be chosen of a SegFormer.

    Attributes:
        decoder_channels: width of the decoder; None is that of the released models, 768 from B2 on and 256 below,
            which the ResNets share.

    Raises:
        ConfigError: a width that is no whole number from 1 up.
    """

    decoder_channels: int | None = None

    def __post_init__(self) -> None:
        width = self.decoder_channels
        if width is not None and (type(width) is not int or width < 1):
            raise ConfigError(f"decoder_channels is {width!r}; it must be a whole number from 1 up")


class FrameLogits(NamedTuple):
    """All that a per-frame model knows of a frame.

    Attributes:
        logits: (B, K, h, w) at stride 4.
    """

    logits: Tensor


class SegFormer(VideoModel):
    """SegFormer on a MiT, or its decoder on a ResNet: no references, each frame by itself.

    Args:
        backbone: ``"mit_b0"`` … ``"mit_b5"``, ``"resnet18"``, ``"resnet50"`` or ``"resnet101"``.
        num_classes: K.
        options: see there.

    Raises:
        ConfigError: an unknown backbone.

    Source: SegFormer (arXiv 2105.15203). Differences: on a ResNet nothing but the encoder is another.
    """

    stride = 4
    reference_ages_s = ()

    def __init__(self, backbone: str, num_classes: int, options: SegFormerOptions | None = None) -> None:
        super().__init__()
        options = options or SegFormerOptions()
        channels = options.decoder_channels or (768 if backbone in WIDE_DECODER_BACKBONES else 256)
        self.options = asdict(SegFormerOptions(channels))
        self.num_classes = num_classes
        self.normalization = ImageNormalization()
        self.backbone = build_backbone(backbone)
        self.decode_head = DecodeHead(self.backbone.channels, channels, num_classes)

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"encoder": self.backbone, "decoder": self.decode_head}

    def encode(self, images: Tensor) -> FrameLogits:
        check_images(images)
        return FrameLogits(self.decode_head(self.backbone(self.normalization(images))))

    def align_references(self, references: Sequence[FrameLogits]) -> tuple[()]:
        self.check_references(references)
        return ()

    def align_target(self, target: FrameLogits, references: tuple[()]) -> Tensor:
        return target.logits


class DecodeHead(nn.Module):
    """All scales projected to one width, brought to stride 4, fused and classified."""

    DROPOUT = 0.1

    def __init__(self, in_channels: Sequence[int], channels: int, num_classes: int) -> None:
        super().__init__()
        for scale, width in enumerate(in_channels, start=1):
            self.add_module(f"linear_c{scale}", LinearProjection(width, channels))
        self.linear_fuse = LinearFuse(len(in_channels) * channels, channels)
        self.dropout = nn.Dropout2d(self.DROPOUT)
        self.linear_pred = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, H / 4, W / 4) of four maps (B, C_s, H / s, W / s)."""
        size_hw = features[0].shape[-2:]
        projected = [getattr(self, f"linear_c{scale}")(f) for scale, f in enumerate(features, start=1)]
        full = [F.interpolate(f, size_hw, mode="bilinear", align_corners=False) for f in projected]
        return self.linear_pred(self.dropout(self.linear_fuse(torch.cat(full[::-1], dim=1))))


class LinearProjection(nn.Module):
    """A linear layer on every token of a map, (B, C, h, w) -> (B, C', h, w)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = Linear(in_channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
