"""What is measured: the settings of one comparison, their matrix, and the suites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from sdcpc_core.errors import ConfigError

STREAM, CLIP, OWN_SEGFORMER = "stream", "clip", "own segformer"
SEGFORMER_EAGER, SEGFORMER_SDPA, SEGFORMER_COMPILED = "segformer eager", "segformer sdpa", "segformer compiled"
HUGGING_FACE = (SEGFORMER_EAGER, SEGFORMER_SDPA, SEGFORMER_COMPILED)

SUITES = ("cpu", "gpu")
SUITE_MINUTES = {"cpu": None, "gpu": 9.0}
"""Limits by default; a GPU is often lent for ten minutes."""


@dataclass(frozen=True)
class Setting:
    """What all contenders of one comparison share.

    Attributes:
        model: an SD-CPC, e.g. ``"sdcpc_mit_b0"``; SegFormer takes the same backbone.
        size_hw: frame size in pixels, which no contender changes.
        num_classes: K.
        device: ``"cpu"``, ``"cuda"`` …
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        cameras: frames of a step, one of each camera.
        num_points: P; None is the model's own.
    """

    model: str
    size_hw: tuple[int, int]
    num_classes: int
    device: str
    precision: str
    cameras: int = 1
    num_points: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Setting":
        """The setting that a report tells."""
        return cls(**{**data, "size_hw": tuple(data["size_hw"])})

    @property
    def backbone(self) -> str:
        """E.g. ``"mit_b0"``."""
        return self.model.removeprefix("sdcpc_")

    @property
    def mit_size(self) -> str | None:
        """``"b0"`` … ``"b5"``; None for a backbone that the Hugging Face SegFormer does not have."""
        return self.backbone.removeprefix("mit_") if self.backbone.startswith("mit_") else None

    def __str__(self) -> str:
        height, width = self.size_hw
        backbone = self.backbone.replace("mit_b", "MiT-B").replace("resnet", "ResNet-")
        points = f", P = {self.num_points}" if self.num_points else ""
        cameras = f", {self.cameras} cameras" if self.cameras > 1 else ""
        return f"{backbone}, {height}×{width}, K = {self.num_classes}, {self.precision}{cameras}{points}"


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix.

    Attributes:
        setting: see there.
        compiled: whether SegFormer under ``torch.compile`` takes part.
        profiled: whether the time is split into parts as well.
    """

    setting: Setting
    compiled: bool = False
    profiled: bool = False

    @property
    def contenders(self) -> list[str]:
        """Names of all that are compared."""
        if self.setting.mit_size is None:
            return [STREAM, CLIP, OWN_SEGFORMER]
        return [STREAM, CLIP, OWN_SEGFORMER, SEGFORMER_EAGER, SEGFORMER_SDPA] + [SEGFORMER_COMPILED] * self.compiled


def matrix(
    models: Sequence[str],
    sizes_hw: Sequence[tuple[int, int]],
    class_numbers: Sequence[int],
    device: str,
    precisions: Sequence[str],
    camera_numbers: Sequence[int] = (1,),
    point_numbers: Sequence[int | None] = (None,),
    *,
    compiled: bool = False,
    profiled: bool = False,
) -> list[Cell]:
    """Every combination, the last choice changing fastest."""
    combinations = product(models, sizes_hw, class_numbers, [device], precisions, camera_numbers, point_numbers)
    return [Cell(Setting(*combination), compiled, profiled) for combination in combinations]


def suite(name: str, device: str) -> list[Cell]:
    """What the figures of the project are made of, the most important first: a time limit may cut off the rest.

    Args:
        name: ``"cpu"`` or ``"gpu"``.
        device: that it runs on.
    """
    models, vspw, cityscapes = ("sdcpc_mit_b1", "sdcpc_mit_b0"), (480, 853), (1024, 2048)
    if name == "cpu":
        precisions = ["fp32", "bf16"]
        headlines = matrix(models, [vspw], [124], device, precisions, profiled=True)
        return _with_others(headlines, matrix(models, [vspw, (360, 480)], [124, 19], device, precisions))
    # Compiling takes most of a minute each, so only where it is most likely to be asked for.
    headlines = [
        *matrix(models, [vspw], [124], device, ["bf16"], compiled=True, profiled=True),
        *matrix(models, [cityscapes], [19], device, ["bf16"], compiled=True, profiled=True),
    ]
    precisions = ["bf16", "fp32", "fp16"]
    return _with_others(headlines, matrix(models, [vspw, cityscapes], [124, 19], device, precisions, [1, 4]))


def _with_others(headlines: list[Cell], cells: list[Cell]) -> list[Cell]:
    done = {cell.setting for cell in headlines}
    return headlines + [cell for cell in cells if cell.setting not in done]


def check_setting(setting: Setting) -> None:
    """Refuse what cannot be measured, before anything is.

    Raises:
        ConfigError: no such model, precision or number.
        InputError: frames too small for the network.
    """
    from sdcpc_core.models import MODEL_NAMES
    from sdcpc_core.models.sdcpc import SDCPCOptions
    from sdcpc_core.models.video_model import check_size
    from sdcpc_core.streaming import PRECISIONS

    models = [name for name in MODEL_NAMES if name.startswith("sdcpc_")]
    if setting.model not in models:
        raise ConfigError(f"cannot time {setting.model!r} beside SegFormer; choose of {', '.join(models)}")
    if setting.precision not in PRECISIONS:
        raise ConfigError(f"precision is {setting.precision!r}; it must be one of {', '.join(PRECISIONS)}")
    for name, value in (("num_classes", setting.num_classes), ("cameras", setting.cameras)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    if setting.num_points is not None:
        SDCPCOptions(num_points=setting.num_points)
    check_size(setting.size_hw)
