"""Mix Transformer (MiT-B0…B5), the hierarchical encoder of SegFormer."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sdcpc_core.models.layers import DropPath, Linear
from sdcpc_core.ops.fused_layers import conv_gelu

# Names of modules and parameters are NVlabs', so that a reader of their files finds their way.


@dataclass(frozen=True)
class MiTSize:
    """Widths and depths of the four stages."""

    embed_dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


MIT_SIZES = {
    "b0": MiTSize((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": MiTSize((64, 128, 320, 512), (2, 2, 2, 2)),
    "b2": MiTSize((64, 128, 320, 512), (3, 4, 6, 3)),
    "b3": MiTSize((64, 128, 320, 512), (3, 4, 18, 3)),
    "b4": MiTSize((64, 128, 320, 512), (3, 8, 27, 3)),
    "b5": MiTSize((64, 128, 320, 512), (3, 6, 40, 3)),
}
NUM_HEADS = (1, 2, 5, 8)
SR_RATIOS = (8, 4, 2, 1)
MLP_RATIO = 4


class OverlapPatchEmbed(nn.Module):
    """Overlapping patches: a strided convolution and a norm, (B, C, H, W) -> (B, h, w, C')."""

    def __init__(self, in_channels: int, embed_dim: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values are taken from a map reduced by ``sr_ratio``."""

    def __init__(self, embed_dim: int, num_heads: int, sr_ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(embed_dim, embed_dim)
        self.kv = Linear(embed_dim, 2 * embed_dim)
        self.proj = Linear(embed_dim, embed_dim)
        self.sr_ratio = sr_ratio
        if sr_ratio > 1:
            self.sr = nn.Conv2d(embed_dim, embed_dim, sr_ratio, sr_ratio)
            self.norm = nn.LayerNorm(embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        reduced = tokens
        if self.sr_ratio > 1:
            reduced = self.norm(self.sr(_pad_to(tokens, self.sr_ratio).permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        query = self._heads(self.q(tokens))
        key, value = (self._heads(part) for part in self.kv(reduced).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(tokens.shape))

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _pad_to(tokens: Tensor, smallest: int) -> Tensor:
    # A map smaller than the reduction kernel (frames below 64 pixels at stride 8) still needs one key.
    height, width = tokens.shape[1:3]
    return F.pad(tokens, (0, 0, 0, max(0, smallest - width), 0, max(0, smallest - height)))


class MixFFN(nn.Module):
    """Feed-forward network with a depth-wise 3x3 convolution, which tells tokens where they are."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        hidden = embed_dim * MLP_RATIO
        self.fc1 = Linear(embed_dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = Linear(hidden, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = conv_gelu(self.fc1(tokens).permute(0, 3, 1, 2), self.dwconv)
        return self.fc2(hidden.permute(0, 2, 3, 1))


class Block(nn.Module):
    """Transformer block on a map of tokens, (B, h, w, C)."""

    def __init__(self, embed_dim: int, num_heads: int, sr_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attn = EfficientAttention(embed_dim, num_heads, sr_ratio)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = MixFFN(embed_dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class MixTransformer(nn.Module):
    """MiT encoder: image -> four feature maps at strides 4, 8, 16 and 32.

    Args:
        size: ``"b0"`` to ``"b5"``.
        drop_path_rate: rate of the last block; it rises linearly from 0.

    Source: SegFormer (arXiv 2105.15203).
    """

    def __init__(self, size: str, drop_path_rate: float = 0.1) -> None:
        super().__init__()
        dims, depths = MIT_SIZES[size].embed_dims, MIT_SIZES[size].depths
        self.channels = dims
        drop_paths = (drop_path_rate * block / (sum(depths) - 1) for block in range(sum(depths)))
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            embed = OverlapPatchEmbed(3, dim, 7, 4) if stage == 0 else OverlapPatchEmbed(dims[stage - 1], dim, 3, 2)
            blocks = [Block(dim, NUM_HEADS[stage], SR_RATIOS[stage], next(drop_paths)) for _ in range(depth)]
            self.add_module(f"patch_embed{stage + 1}", embed)
            self.add_module(f"block{stage + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(dim, eps=1e-6))
        self.apply(_init_weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images, (B, 3, H, W), into four maps (B, C_s, ceil(H / s), ceil(W / s))."""
        features = []
        current = images
        for stage in range(1, 5):
            tokens = getattr(self, f"patch_embed{stage}")(current)
            for block in getattr(self, f"block{stage}"):
                tokens = block(tokens)
            current = getattr(self, f"norm{stage}")(tokens).permute(0, 3, 1, 2)
            features.append(current)
        return features


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(module.bias)
