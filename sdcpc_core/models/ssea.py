"""Static semantic efficient aggregation (SSEA): alignment inside one frame, Eq. (1) of SD-CPC."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcpc_core.models.layers import DropPath, FeedForward, Linear, LinearFuse
from sdcpc_core.ops.deform_conv import deformable_aggregation
from sdcpc_core.ops.features import SMALLEST_SUM, at_least_float32, positive


class SSEA(nn.Module):
    """``S = LA(DCN([DS(F1) ++ F2 ++ US(F3) ++ US(F4)]))``.

    Args:
        in_channels: widths of F1…F4.
        channels: C, the width of S.
        multi_scale: fuse all scales; otherwise F2 alone is projected to C.
        deformable_convolution: whether there is a DCN.
        linear_attention: whether there is an LA.

    Source: SD-CPC (arXiv 2412.08034), Eq. 1.
    """

    NUM_HEADS = 8
    """Of the linear attention, and groups of the deformable convolution."""

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        *,
        multi_scale: bool,
        deformable_convolution: bool,
        linear_attention: bool,
    ) -> None:
        super().__init__()
        self.fusion = (MultiScaleFusion if multi_scale else SingleScale)(in_channels, channels)
        self.dcn = DeformableLayer(channels, groups=self.NUM_HEADS) if deformable_convolution else nn.Identity()
        self.la = LinearAttention(channels, self.NUM_HEADS) if linear_attention else nn.Identity()

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Align four maps (B, C_s, H / s, W / s) into S, (B, h, w, C) at stride 8."""
        return self.la(self.dcn(self.fusion(features)))


class MultiScaleFusion(nn.Module):
    """Concatenation of all scales at stride 8, projected to C channels.

    Eq. (1) has neither norm nor ReLU there. Without them labels of the same accuracy flicker more.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels[0], channels, 3, stride=2, padding=1)
        self.project = LinearFuse(channels + sum(in_channels[1:]), channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        size_hw = features[1].shape[-2:]
        up = [F.interpolate(f, size_hw, mode="bilinear", align_corners=False) for f in features[2:]]
        return self.project(torch.cat([self.down(features[0]), features[1], *up], dim=1)).permute(0, 2, 3, 1)


class SingleScale(nn.Module):
    """F2 alone, projected to C channels: what is left without the fusion."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.project = LinearFuse(in_channels[1], channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.project(features[1]).permute(0, 2, 3, 1)


class DeformableLayer(nn.Module):
    """A DCNv3 with its feed-forward network, both residual, (B, h, w, C) -> (B, h, w, C)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.dcn = DCNv3(channels, groups)
        self.ffn = FeedForward(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.ffn(tokens + self.dcn(self.norm(tokens)))


class DCNv3(nn.Module):
    """Deformable convolution v3 over D = 9 points, (B, h, w, C) -> (B, h, w, C).

    Source: InternImage (arXiv 2211.05778).
    """

    NUM_POINTS = 9

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.value = Linear(channels, channels)
        self.context = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.context_norm = nn.LayerNorm(channels)
        self.offset = Linear(channels, groups * self.NUM_POINTS * 2)
        self.modulation = Linear(channels, groups * self.NUM_POINTS)
        self.output = Linear(channels, channels)
        for layer in (self.offset, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        context = self.context(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        context = F.gelu(self.context_norm(context))
        offsets = at_least_float32(self.offset(context)).unflatten(-1, (self.groups, self.NUM_POINTS, 2))
        modulation = _softmax(at_least_float32(self.modulation(context)).unflatten(-1, (self.groups, self.NUM_POINTS)))
        return self.output(deformable_aggregation(self.value(tokens), offsets, modulation).to(tokens.dtype))


def _softmax(logits: Tensor) -> Tensor:
    # PyTorch's takes seven times as long on the CPU over so few numbers.
    odds = (logits - logits.detach().amax(-1, keepdim=True)).exp()
    return odds / odds.sum(-1, keepdim=True)


class LinearAttention(nn.Module):
    """Attention among all tokens at a cost linear in their number, residual, (B, h, w, C) -> (B, h, w, C).

    In training half of the samples skip it, which the paper does not say: what it tells each token of the whole picture
    moves with every frame, and a network that relies on it has labels that flicker all over a façade.

    Source: Katharopoulos et al. (arXiv 2006.16236).
    """

    DROP_PATH_RATE = 0.5

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = Linear(channels, 3 * channels)
        # Not scaled up where it is kept: half of the training sees what all of the use does.
        self.drop_path = DropPath(self.DROP_PATH_RATE, rescale=False)

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(tokens)).flatten(1, 2).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = at_least_float32(qkv).permute(2, 0, 3, 1, 4)  # (B, heads, N, C / heads) each
        with torch.autocast(tokens.device.type, enabled=False):
            attended = _linear_attention(positive(query), positive(key), value)
        return tokens + self.drop_path(attended.transpose(1, 2).reshape(tokens.shape).to(tokens.dtype))


def _linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    # Means over the N tokens instead of sums: the quotient is the same, of numbers that do not grow with the image.
    context = key.transpose(-1, -2) @ (value / key.shape[-2])
    return (query @ context) / (query @ key.mean(-2).unsqueeze(-1)).clamp_min(SMALLEST_SUM)
