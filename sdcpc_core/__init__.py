"""Video semantic segmentation with SD-CPC: networks, training, evaluation and streaming, without ROS.

Each public name is imported when it is first used: the command line answers ``--help`` without loading PyTorch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdcpc_core.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
    from sdcpc_core.errors import (
        CheckpointError,
        ConfigError,
        InputError,
        MissingDependencyError,
        OutputError,
        SdcpcError,
    )
    from sdcpc_core.labels import CAMVID, CITYSCAPES, LabelSet
    from sdcpc_core.models import build_model
    from sdcpc_core.models.video_model import FrameState, VideoModel
    from sdcpc_core.streaming import Segmenter, StepResult, Stream, StreamFrame

_MODULE_OF = {
    "Segmenter": "streaming",
    "StepResult": "streaming",
    "Stream": "streaming",
    "StreamFrame": "streaming",
    "CheckpointHeader": "checkpoint",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "VideoModel": "models.video_model",
    "FrameState": "models.video_model",
    "build_model": "models",
    "CAMVID": "labels",
    "CITYSCAPES": "labels",
    "LabelSet": "labels",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "InputError": "errors",
    "MissingDependencyError": "errors",
    "OutputError": "errors",
    "SdcpcError": "errors",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("sdcpc_ros")
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
