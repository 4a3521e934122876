"""A network on its device and in its precision: from frames in the host's memory to logits."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcpc_core.cuda_graph import CudaGraphRecorder, RecordedCalls
from sdcpc_core.errors import ConfigError
from sdcpc_core.models.video_model import MIN_SIDE, AlignedReferences, FrameState, VideoModel

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STRIDE = 8

Network = TypeVar("Network", bound=nn.Module)


class PlacedModel:
    """The parts of a network on its device; no call waits for the device. On CUDA each part is replayed as a graph.

    Args:
        model: moved to the device and put into evaluation mode.
        device: of the network.
        precision: see ``PRECISIONS``.
        working_size_hw: frames are resized, keeping their aspect, to about as many pixels as this; None takes them as
            they are.
        cuda_graphs: whether the parts are graphs on CUDA.

    Raises:
        ConfigError: a value that cannot work.
    """

    def __init__(
        self,
        model: VideoModel,
        device: torch.device,
        precision: str,
        working_size_hw: tuple[int, int] | None,
        *,
        cuda_graphs: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
        if working_size_hw is not None and min(working_size_hw) < MIN_SIDE:
            raise ConfigError(f"working_size_hw is {working_size_hw}; height and width must be at least {MIN_SIDE}")
        self._device = device
        self._dtype = PRECISIONS[precision]
        self._working_size_hw = working_size_hw
        self._on_cuda = device.type == "cuda"
        model = model.eval().to(device, memory_format=torch.channels_last)
        self._model = cast_once(model, self._dtype)
        graphs = self._on_cuda and cuda_graphs
        self._call = RecordedCalls(CudaGraphRecorder(device)) if graphs else _call_directly

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the device current, without gradients; all else is called inside of it."""
        with torch.inference_mode(), torch.cuda.device(self._device if self._on_cuda else -1):
            yield

    def upload(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Send (H, W, 3) uint8 frames of one size to the device, (B, H, W, 3), in page-locked memory on the way."""
        images = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=self._on_cuda)
        np.stack(frames, out=images.numpy())
        return images.to(self._device, non_blocking=True)

    def encode(self, images: Tensor) -> FrameState:
        """Resize uploaded images and encode them."""
        return self._call(self._encode, images)

    def align_references(self, references: Sequence[FrameState]) -> AlignedReferences:
        """Do ``VideoModel.align_references``."""
        return self._call(self._align_references, references)

    def align_target(self, target: FrameState, references: AlignedReferences) -> Tensor:
        """Do ``VideoModel.align_target``: logits."""
        # Without references a model may have nothing left to do, and a graph of nothing is none.
        call = self._call if references else _call_directly
        return call(self._align_target, target, references)

    def working_size(self, size_hw: Sequence[int]) -> tuple[int, int]:
        """Size in pixels the network sees of a frame: the frame's aspect, the working size's area."""
        height, width = size_hw
        if self._working_size_hw is None or (height, width) == tuple(self._working_size_hw):
            return height, width
        scale = (self._working_size_hw[0] * self._working_size_hw[1] / (height * width)) ** 0.5
        return tuple(max(MIN_SIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width))

    def _encode(self, images: Tensor) -> FrameState:
        images = images.permute(0, 3, 1, 2)
        size_hw = self.working_size(images.shape[-2:])
        if size_hw != tuple(images.shape[-2:]):
            # On the CPU bytes are resized several times faster than floats; CUDA resizes floats only.
            images = images.float() if self._on_cuda else images
            images = F.interpolate(images, size_hw, mode="bilinear", align_corners=False, antialias=True)
        with self._autocast():
            return self._model.encode(images)

    def _align_references(self, references: Sequence[FrameState]) -> AlignedReferences:
        with self._autocast():
            return self._model.align_references(references)

    def _align_target(self, target: FrameState, references: AlignedReferences) -> Tensor:
        with self._autocast():
            return self._model.align_target(target, references)

    def _autocast(self) -> torch.autocast:
        # Nothing is left to cast twice, and what a graph casts must not outlive its capture.
        enabled = self._dtype is not torch.float32
        return torch.autocast(self._device.type, self._dtype, enabled=enabled, cache_enabled=False)


def find_device(name: str) -> torch.device:
    """The device of a name: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        ConfigError: another name, or a device that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or not (index or "0").isdecimal()):
        raise ConfigError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= count:
        raise ConfigError(f"device is {name!r}, but PyTorch finds {count or 'no'} CUDA devices; use cpu or auto")
    return torch.device(name)


def _call_directly(function: Callable[..., Any], *inputs: Any) -> Any:
    return function(*inputs)


def cast_once(model: Network, dtype: torch.dtype) -> Network:
    """A copy of a network with those weights in ``dtype`` that autocast would cast at every step; in float32 itself."""
    if dtype is torch.float32:
        return model
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
    return model
