"""SD-CPC: encode each frame, align it within itself, align the target with two references, decide."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.models.dssa import DSSA, AlignedPair, Difference
from sdcpc_core.models.normalization import ImageNormalization
from sdcpc_core.models.prototypes import MultivariateHead
from sdcpc_core.models.ssea import SSEA
from sdcpc_core.models.video_model import VideoModel, check_images
from sdcpc_core.ops.window_attention import Weighting

Interleave = Literal["rows", "columns"]
POINT_NUMBERS = tuple(side**2 for side in range(1, 17))


@dataclass(frozen=True)
class SDCPCOptions:
    """What can be chosen of an SD-CPC; the last five switches leave out what rows of the paper's Table 3 do.

    Attributes:
        channels: C. The paper says the width of F2; its GFLOPs say 128 for every backbone.
        num_points: P, points each token attends to, a square number up to 256.
        num_variates: M.
        reference_ages_s: wanted ages of the two references (s): t-3 and t-6 at VSPW's 15 Hz.
        interleave: what stage 1 interleaves of two frames.
        weighting: Eq. (2) on positive features, or raw as printed, which can divide by zero.
        multi_scale: fuse F1…F4; otherwise F2 alone is projected to C.
        deformable_convolution: the DCN of Eq. (1).
        linear_attention: the LA of Eq. (1).
        coarse_stage: stage 1 of the DSSA.
        fine_stage: stage 2 of the DSSA. Without both there are no references.

    Raises:
        ConfigError: a value that does not fit.
    """

    channels: int = 128
    num_points: int = 4
    num_variates: int = 4
    reference_ages_s: Sequence[float] = (0.2, 0.4)
    interleave: Interleave = "rows"
    weighting: Weighting = "positive"
    multi_scale: bool = True
    deformable_convolution: bool = True
    linear_attention: bool = True
    coarse_stage: bool = True
    fine_stage: bool = True

    def __post_init__(self) -> None:
        for name in ("channels", "num_points", "num_variates"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number from 1 up")
        if self.channels % SSEA.NUM_HEADS or self.channels % self.num_variates:
            raise ConfigError(
                f"channels is {self.channels}; it must be divisible by {SSEA.NUM_HEADS} heads and "
                f"{self.num_variates} variates"
            )
        if self.num_points not in POINT_NUMBERS:
            raise ConfigError(
                f"num_points is {self.num_points}; it must be a square number up to {POINT_NUMBERS[-1]}, "
                "such as 4, 9 or 16"
            )
        for name, choices in (("interleave", get_args(Interleave)), ("weighting", get_args(Weighting))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(choices)}")
        for name in ("multi_scale", "deformable_convolution", "linear_attention", "coarse_stage", "fine_stage"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be true or false")
        object.__setattr__(self, "reference_ages_s", _checked_ages(self.reference_ages_s))

    @property
    def has_references(self) -> bool:
        """Whether there is a DSSA to take references."""
        return self.coarse_stage or self.fine_stage


class StaticState(NamedTuple):
    """What a stream keeps of a frame.

    Attributes:
        static: S of Eq. (1), (B, h, w, C) at stride 8.
    """

    static: Tensor


class SDCPC(VideoModel):
    """Static-dynamic class-level perception consistency.

    Args:
        backbone: ``"mit_b0"`` … ``"mit_b5"``, ``"resnet18"``, ``"resnet50"`` or ``"resnet101"``.
        num_classes: K.
        options: see there.

    Raises:
        ConfigError: an unknown backbone.

    Source: SD-CPC (arXiv 2412.08034), Figure 2.
    """

    stride = 8

    def __init__(self, backbone: str, num_classes: int, options: SDCPCOptions | None = None) -> None:
        super().__init__()
        options = options or SDCPCOptions()
        self.options = {**asdict(options), "reference_ages_s": list(options.reference_ages_s)}
        self.num_classes = num_classes
        self.reference_ages_s = options.reference_ages_s if options.has_references else ()
        self.normalization = ImageNormalization()
        self.backbone = build_backbone(backbone)
        self.ssea = SSEA(
            self.backbone.channels,
            options.channels,
            multi_scale=options.multi_scale,
            deformable_convolution=options.deformable_convolution,
            linear_attention=options.linear_attention,
        )
        self.dssa = DSSA(
            options.channels,
            options.num_points,
            coarse_difference=Difference(options.interleave),
            weighting=options.weighting,
            coarse_stage=options.coarse_stage,
            fine_stage=options.fine_stage,
        )
        self.head = MultivariateHead(options.channels, num_classes, options.num_variates)

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {
            "encoder": self.backbone,
            "fusion": self.ssea.fusion,
            "DCN": self.ssea.dcn,
            "LA": self.ssea.la,
            "DSSA stage 1": self.dssa.coarse,
            "DSSA stage 2": self.dssa.fine,
            "head": self.head,
        }

    def encode(self, images: Tensor) -> StaticState:
        check_images(images)
        return StaticState(self.ssea(self.backbone(self.normalization(images))))

    def align_references(self, references: Sequence[StaticState]) -> AlignedPair | tuple[()]:
        self.check_references(references)
        if not references:
            return ()
        near, far = references
        return self.dssa.align_references(near.static, far.static)

    def align_target(self, target: StaticState, references: AlignedPair | tuple[()]) -> Tensor:
        return self.head(self.aggregate(target, references))

    def aggregate(self, target: StaticState, references: AlignedPair | tuple[()]) -> Tensor:
        """D_fine, (B, h, w, C): what the head decides on and the prototypes are made of; S without a DSSA."""
        return self.dssa.align_target(target.static, *references) if references else target.static


def _checked_ages(reference_ages_s: Sequence[float]) -> tuple[float, ...]:
    ages_s = tuple(reference_ages_s) if isinstance(reference_ages_s, Sequence) else ()
    numbers = all(type(age) in (int, float) for age in ages_s)
    if len(ages_s) != 2 or not numbers or not 0 < ages_s[0] <= ages_s[1] < math.inf:
        raise ConfigError(f"reference_ages_s is {reference_ages_s!r}; it needs two ages > 0 in s, the nearer first")
    return tuple(map(float, ages_s))
