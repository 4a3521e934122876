"""What a network costs: parameters and multiply-accumulates, by part and by kind of operation."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from operator import add
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.video_model import VideoModel, check_size

aten = torch.ops.aten


@dataclass(frozen=True)
class Operations:
    """Multiply-accumulates by kind.

    Attributes:
        layers: of convolutions and linear layers.
        sampling: of weighted sums over sampled tokens: deformable convolution and Eq. (2).
        attention: products between tokens: softmax attention, linear attention, the weights of Eq. (2).
    """

    layers: int = 0
    sampling: int = 0
    attention: int = 0

    @property
    def macs(self) -> int:
        """All but the attention products, which the paper's tables leave out."""
        return self.layers + self.sampling

    @property
    def macs_with_attention(self) -> int:
        """All of them."""
        return self.macs + self.attention

    def to_dict(self) -> dict[str, int]:
        """Under the keys of reports."""
        return {"macs": self.macs, "macs_with_attention": self.macs_with_attention}

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(self.layers + other.layers, self.sampling + other.sampling, self.attention + other.attention)


@dataclass(frozen=True)
class Cost:
    """Cost of a network or a part of it.

    Attributes:
        params: number of parameters.
        clip: operations for one clip, every frame encoded.
        stream: operations per frame of a stream, which encodes each frame once.
    """

    params: int
    clip: Operations
    stream: Operations

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.clip + other.clip, self.stream + other.stream)

    def to_dict(self) -> dict[str, Any]:
        """Under the keys of reports: those of a clip, and of a ``stream`` per frame."""
        return {"params": self.params, **self.clip.to_dict(), "stream": self.stream.to_dict()}


@dataclass(frozen=True)
class ModelCost:
    """Cost of a network.

    Attributes:
        parts: by the names of ``VideoModel.parts``, in their order.
        size_hw: height and width of a frame (pixels).
        frames: frames of a clip.
    """

    parts: Mapping[str, Cost]
    size_hw: tuple[int, int]
    frames: int

    @property
    def total(self) -> Cost:
        """The sum of the parts."""
        return reduce(add, self.parts.values())


def model_cost(model: VideoModel, size_hw: tuple[int, int], frames: int | None = None) -> ModelCost:
    """Count what a network does to a clip and to a frame of a stream; nothing is computed.

    Normalisations, activations, interpolations and softmax are not counted, as everywhere in the field.

    Args:
        model: left as it is; one built on the meta device does.
        size_hw: height and width of a frame in pixels, at least 32.
        frames: of the clip; all that the model takes by default, or 1, which is what a stream costs.

    Raises:
        ConfigError: another number of frames.
        InputError: a side is below 32 pixels.
    """
    all_frames = 1 + len(model.reference_ages_s)
    frames = all_frames if frames is None else frames
    if frames not in (1, all_frames):
        takes = f"{all_frames} or 1" if all_frames > 1 else "1"
        raise ConfigError(f"the model cannot take {frames} frames; it takes {takes}")
    check_size(size_hw)
    shell = copy.deepcopy(model).to("meta").eval()
    # Fake tensors of the CPU, because autocast and attention kernels know no meta device.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        shell.to_empty(device="cpu")
        clip = _count(shell, size_hw, frames)
        # One frame serves as its own references: encoded once, aligned in full.
        stream = clip if frames == 1 else _count(shell, size_hw, 1)
    params = {name: sum(p.numel() for p in part.parameters()) for name, part in model.parts.items()}
    return ModelCost({name: Cost(params[name], clip[name], stream[name]) for name in params}, size_hw, frames)


def _count(shell: VideoModel, size_hw: tuple[int, int], frames: int) -> dict[str, Operations]:
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        shell(torch.empty(1, frames, 3, *size_hw))
    path_of = {module: path for path, module in shell.named_modules()}
    counts = counter.get_flop_counts()
    return {
        name: _by_kind(counts.get(f"{type(shell).__name__}.{path_of[part]}", {})) for name, part in shell.parts.items()
    }


def _by_kind(flops: Mapping[Any, int]) -> Operations:
    sampling = sum(flops.get(op, 0) for op in SAMPLING)
    attention = sum(flops.get(op, 0) for op in ATTENTION)
    layers = sum(flops.values()) - sampling - attention
    return Operations(layers // 2, sampling // 2, attention // 2)  # a multiply-accumulate is two operations


def _bag_flops(table: torch.Size, indices: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * prod(indices) * table[1]


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * prod(query[:-1]) * key[-2] * (key[-1] + value[-1])


SAMPLING = (aten._embedding_bag, aten._embedding_bag_forward_only)
ATTENTION = (aten._scaled_dot_product_flash_attention_for_cpu, aten.bmm, aten.baddbmm)
"""Products whose operands both depend on the image; those with a weight arrive as mm, addmm or a convolution."""
FORMULAS = {
    **dict.fromkeys(SAMPLING, _bag_flops),
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
"""Floating-point operations, two per multiply-accumulate, of what the counter of PyTorch does not know."""
