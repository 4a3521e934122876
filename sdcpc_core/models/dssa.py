"""Dynamic semantic selective aggregation (DSSA): two-stage alignment of a target with two references."""

from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdcpc_core.models.layers import MLP, FeedForward, Linear
from sdcpc_core.ops.deform_conv import regular_grid
from sdcpc_core.ops.features import at_least_float32
from sdcpc_core.ops.fused_layers import conv_gelu
from sdcpc_core.ops.window_attention import Weighting, selective_window_attention


class Difference(Enum):
    """How a stage perceives what changed between two frames: interleaved rows or columns, or their difference."""

    ROWS = "rows"
    COLUMNS = "columns"
    SUBTRACTION = "subtraction"


class AlignedPair(NamedTuple):
    """Two references aligned with each other.

    Attributes:
        related: D1, (B, h, w, C).
        refined: D2, like D1.
    """

    related: Tensor
    refined: Tensor


class DSSA(nn.Module):
    """Align static features of three frames, coarse to fine.

    ``D1 = CA1(S-3, S-6)``, ``D_coarse = CA1(S0, D1)``; ``D2 = CA2(D1, S-6)``, ``D_fine = CA2(D_coarse, D2)``.
    Weights are shared inside a stage. D1 and D2 need the references alone. A stage left out hands on its target.

    Args:
        channels: C.
        num_points: P, a square number.
        coarse_difference: how stage 1 perceives what changed; stage 2 subtracts.
        weighting: of Eq. (2).
        coarse_stage: whether there is a stage 1.
        fine_stage: whether there is a stage 2.

    Source: SD-CPC (arXiv 2412.08034), section 3, "Dynamic Semantic Selective Aggregation".
    """

    def __init__(
        self,
        channels: int,
        num_points: int,
        *,
        coarse_difference: Difference,
        weighting: Weighting,
        coarse_stage: bool,
        fine_stage: bool,
    ) -> None:
        super().__init__()

        def stage(difference: Difference) -> SelectiveCrossAttention:
            return SelectiveCrossAttention(channels, num_points, difference, weighting)

        self.coarse = stage(coarse_difference) if coarse_stage else NoStage()
        self.fine = stage(Difference.SUBTRACTION) if fine_stage else NoStage()

    def forward(self, target: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """Align S of the target, of t-3 and of t-6, each (B, h, w, C), into D_fine, (B, h, w, C)."""
        return self.align_target(target, *self.align_references(near, far))

    def align_references(self, near: Tensor, far: Tensor) -> AlignedPair:
        """Relate the references to each other, before the target is known."""
        related = self.coarse(near, far)
        return AlignedPair(related, self.fine(related, far))

    def align_target(self, target: Tensor, related: Tensor, refined: Tensor) -> Tensor:
        """Aggregate D1 (``related``) and D2 (``refined``) into the target."""
        return self.fine(self.coarse(target, related), refined)


class NoStage(nn.Module):
    """A stage left out: the target as it is."""

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        return target


class SelectiveCrossAttention(nn.Module):
    """CA: every target token attends to P tokens of the reference that its selector chooses.

    It starts as the identity on the target: a network that learned on single frames goes on from where it was, instead
    of unlearning a random mixture first. Maps are (B, h, w, C).
    """

    def __init__(self, channels: int, num_points: int, difference: Difference, weighting: Weighting) -> None:
        super().__init__()
        self.weighting = weighting
        self.selector = PointSelector(channels, num_points, difference)
        self.target_norm = nn.LayerNorm(channels)
        self.reference_norm = nn.LayerNorm(channels)
        self.query, self.key, self.value = MLP(channels), MLP(channels), MLP(channels)
        self.output = Linear(channels, channels)
        self.ffn = FeedForward(channels)
        for last in (self.output, self.ffn.mlp[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        points = self.selector(target, reference)
        source = self.reference_norm(reference)
        query, key, value = self.query(self.target_norm(target)), self.key(source), self.value(source)
        attended = selective_window_attention(query, key, value, points, self.weighting)
        return self.ffn(target + self.output(attended.to(target.dtype)))


class PointSelector(nn.Module):
    """Choose P points of the reference for each target token from the difference of the two maps.

    The coordinates start as a sqrt(P) x sqrt(P) window around the token's own place and are offsets from it
    in tokens; they may leave the map, where there is nothing to attend to.
    """

    HIDDEN_RATIO = 1.5

    def __init__(self, channels: int, num_points: int, difference: Difference) -> None:
        super().__init__()
        self.num_points = num_points
        self.difference = difference
        hidden = int(channels * self.HIDDEN_RATIO)
        stride = {Difference.ROWS: (2, 1), Difference.COLUMNS: (1, 2)}.get(difference, 1)
        self.perceive = nn.Conv2d(channels, hidden, 3, stride, padding=1)
        self.locate = nn.Conv2d(hidden, 2 * num_points, 3, padding=1)
        nn.init.zeros_(self.locate.weight)
        nn.init.zeros_(self.locate.bias)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        """Points of (B, h, w, C) maps: (B, h, w, P, 2) x, y in tokens of the reference, at least float32."""
        perceived = conv_gelu(self._differ(target, reference).permute(0, 3, 1, 2), self.perceive)
        offsets = self.locate(perceived).permute(0, 2, 3, 1).unflatten(-1, (self.num_points, 2))
        return at_least_float32(offsets) + regular_grid(
            target.shape[1], target.shape[2], self.num_points, target.device
        )

    def _differ(self, target: Tensor, reference: Tensor) -> Tensor:
        if self.difference is Difference.SUBTRACTION:
            return target - reference
        along = 1 if self.difference is Difference.ROWS else 2
        return torch.stack((target, reference), dim=along + 1).flatten(along, along + 1)
