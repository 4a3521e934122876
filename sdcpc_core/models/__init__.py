"""Networks by name."""

from dataclasses import fields
from typing import Any

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.backbones import BACKBONES
from sdcpc_core.models.sdcpc import SDCPC, SDCPCOptions
from sdcpc_core.models.segformer import SegFormer, SegFormerOptions
from sdcpc_core.models.video_model import VideoModel

MODEL_NAMES = tuple(f"{family}_{backbone}" for family in ("sdcpc", "segformer") for backbone in BACKBONES)


def build_model(name: str, num_classes: int, **options: Any) -> VideoModel:
    """Build a network with fresh weights.

    Args:
        name: one of ``MODEL_NAMES``, e.g. ``"sdcpc_mit_b0"`` or ``"segformer_resnet50"``.
        num_classes: K.
        **options: fields of ``SDCPCOptions`` or ``SegFormerOptions``.

    Raises:
        ConfigError: an unknown name or option, or values that do not fit.
    """
    if name not in MODEL_NAMES:
        raise ConfigError(f"no model {name!r}; there are {', '.join(MODEL_NAMES)}")
    if type(num_classes) is not int or num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes!r}; it must be a whole number from 1 up")
    family, _, backbone = name.partition("_")
    model, model_options = (SDCPC, SDCPCOptions) if family == "sdcpc" else (SegFormer, SegFormerOptions)
    known = {option.name for option in fields(model_options)}
    if unknown := sorted(set(options) - known):
        raise ConfigError(f"model {name!r} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return model(backbone, num_classes, model_options(**options))
