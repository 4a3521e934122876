"""Networks by name."""

import inspect
from typing import Any

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.backbones import BACKBONES
from sdcpc_core.models.sdcpc import SDCPC
from sdcpc_core.models.video_model import VideoModel

MODEL_NAMES = tuple(f"sdcpc_{backbone}" for backbone in BACKBONES)


def build_model(name: str, num_classes: int, **options: Any) -> VideoModel:
    """Build a network with fresh weights.

    Args:
        name: one of ``MODEL_NAMES``, e.g. ``"sdcpc_mit_b0"``.
        num_classes: K.
        **options: keyword arguments of the model's class.

    Raises:
        ConfigError: an unknown name or option, or values that do not fit.
    """
    if name not in MODEL_NAMES:
        raise ConfigError(f"no model {name!r}; there are {', '.join(MODEL_NAMES)}")
    if num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes}; a model needs at least one class")
    known = {p.name for p in inspect.signature(SDCPC).parameters.values() if p.kind is p.KEYWORD_ONLY}
    if unknown := sorted(set(options) - known):
        raise ConfigError(f"model {name!r} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return SDCPC(name.removeprefix("sdcpc_"), num_classes, **options)
