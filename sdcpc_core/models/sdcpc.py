"""SD-CPC: encode each frame, align it within itself, align the target with two references, decide."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.models.dssa import DSSA
from sdcpc_core.models.normalization import ImageNormalization
from sdcpc_core.models.prototypes import MultivariateHead
from sdcpc_core.models.ssea import SSEA
from sdcpc_core.models.video_model import VideoModel


class StaticState(NamedTuple):
    """What a stream keeps of a frame.

    Attributes:
        static: S of Eq. (1), (B, h, w, C) at stride 8.
    """

    static: Tensor


class SDCPC(VideoModel):
    """Static-dynamic class-level perception consistency.

    Args:
        backbone: ``"mit_b0"`` … ``"mit_b5"`` or ``"resnet18"``.
        num_classes: K.
        channels: C. The paper says the width of F2; its GFLOPs say 128 for every backbone.
        num_points: P, points each token attends to, a square number.
        num_variates: M.
        reference_ages_s: wanted ages of the two references (s): t-3 and t-6 at VSPW's 15 Hz.

    Raises:
        ConfigError: an unknown backbone, or values that do not fit.

    Source: SD-CPC (arXiv 2412.08034), Figure 2.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        channels: int = 128,
        num_points: int = 4,
        num_variates: int = 4,
        reference_ages_s: Sequence[float] = (0.2, 0.4),
    ) -> None:
        super().__init__()
        _check_options(channels, num_points, num_variates, reference_ages_s)
        self.options = {
            "channels": channels,
            "num_points": num_points,
            "num_variates": num_variates,
            "reference_ages_s": list(reference_ages_s),
        }
        self.num_classes = num_classes
        self.reference_ages_s = tuple(reference_ages_s)
        self.normalization = ImageNormalization()
        self.backbone = build_backbone(backbone)
        self.ssea = SSEA(self.backbone.channels, channels)
        self.dssa = DSSA(channels, num_points)
        self.head = MultivariateHead(channels, num_classes, num_variates)

    def encode(self, images: Tensor) -> StaticState:
        return StaticState(self.ssea(self.backbone(self.normalization(images))))

    def align(self, target: StaticState, references: Sequence[StaticState]) -> Tensor:
        return self.head(self.aggregate(target, references))

    def aggregate(self, target: StaticState, references: Sequence[StaticState]) -> Tensor:
        """D_fine, (B, h, w, C): what the head decides on and the prototypes are made of."""
        near, far = references
        return self.dssa(target.static, near.static, far.static)


def _check_options(channels: int, num_points: int, num_variates: int, reference_ages_s: Sequence[float]) -> None:
    for name, value in (("channels", channels), ("num_points", num_points), ("num_variates", num_variates)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is {value!r}; it must be a whole number from 1 up")
    if channels % SSEA.NUM_HEADS or channels % num_variates:
        raise ConfigError(
            f"channels is {channels}; it must be divisible by {SSEA.NUM_HEADS} heads and {num_variates} variates"
        )
    if round(num_points**0.5) ** 2 != num_points:
        raise ConfigError(f"num_points is {num_points}; it must be a square number such as 4, 9 or 16")
    try:
        near_s, far_s = map(float, reference_ages_s)
    except (TypeError, ValueError):
        near_s = far_s = float("nan")
    if not 0 < near_s <= far_s < float("inf"):
        raise ConfigError(f"reference_ages_s is {reference_ages_s!r}; it needs two ages > 0 in s, the nearer first")
