"""What the benchmark times: SD-CPC as clip and as stream, and SegFormer, from bytes to labels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.benchmark.hugging_face import hugging_face_segformer
from sdcpc_core.benchmark.setting import (
    CLIP,
    HUGGING_FACE,
    OWN_SEGFORMER,
    SEGFORMER_COMPILED,
    SEGFORMER_EAGER,
    SEGFORMER_SDPA,
    Setting,
)
from sdcpc_core.cuda_graph import CudaGraphRecorder, RecordedCalls
from sdcpc_core.labels import LabelSet
from sdcpc_core.models import build_model
from sdcpc_core.models.normalization import ImageNormalization
from sdcpc_core.ops.upsample_argmax import upsample_argmax
from sdcpc_core.placed_model import PRECISIONS, cast_once
from sdcpc_core.reference_cache import NS_PER_S
from sdcpc_core.streaming import Segmenter, StreamFrame

FRAME_RATE_HZ = 15
WARM_UP_STEPS = 8
"""Enough for a stream to fill its cache."""

Step = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""One contender's work on a frame of each camera: N of (H, W, 3) uint8 RGB -> N of (H, W) uint8 labels."""


def build_contender(name: str, setting: Setting) -> Step:
    """Build one contender with random weights; their speed does not depend on the weights.

    Raises:
        ConfigError: SegFormer has no such backbone, or a setting cannot work.
        MissingDependencyError: the Hugging Face SegFormer is asked for and transformers is not installed.
    """
    if name in HUGGING_FACE:
        return _hugging_face(name, setting)
    segmenter = build_segmenter(f"segformer_{setting.backbone}" if name == OWN_SEGFORMER else setting.model, setting)
    return _clip(segmenter, setting) if name == CLIP else _stream(segmenter, setting.cameras)


def build_segmenter(model: str, setting: Setting) -> Segmenter:
    """A network of this package with random weights, which takes frames as they are."""
    labels = LabelSet("benchmark", tuple(map(str, range(setting.num_classes))), ((0, 0, 0),) * setting.num_classes)
    network = build_model(model, setting.num_classes, **model_options(model, setting.num_points))
    return Segmenter(network, labels, device=setting.device, precision=setting.precision)


def model_options(model: str, num_points: int | None) -> dict[str, int]:
    """Arguments for ``build_model``: P, where it is asked for and the model has it."""
    return {"num_points": num_points} if num_points and model.startswith("sdcpc_") else {}


def upload(frames: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Frames, N of (H, W, 3) uint8, as a batch (N, 3, H, W) on the device."""
    batch = np.stack(frames) if len(frames) > 1 else frames[0][None]
    return torch.from_numpy(batch).to(device).permute(0, 3, 1, 2)


def autocast(setting: Setting, *, remembers_casts: bool = True) -> torch.autocast:
    """What a network runs under at this precision; in a graph it must not remember what it casts."""
    return torch.autocast(
        torch.device(setting.device).type,
        PRECISIONS[setting.precision],
        enabled=setting.precision != "fp32",
        cache_enabled=remembers_casts,
    )


@contextmanager
def running(setting: Setting) -> Iterator[None]:
    """What the parts of a network run in: at this precision, without gradients."""
    with torch.inference_mode(), autocast(setting):
        yield


def upsample_then_argmax(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Labels (N, H, W) of logits (N, K, h, w), as is usual: all classes at full size, then the best."""
    full = F.interpolate(logits.float(), size_hw, mode="bilinear", align_corners=False)
    return full.argmax(dim=1).to(torch.uint8)


def _stream(segmenter: Segmenter, cameras: int) -> Step:
    streams = [segmenter.stream() for _ in range(cameras)]
    ticks = count(1)

    def step(frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        stamp_ns = next(ticks) * NS_PER_S // FRAME_RATE_HZ
        batch = [StreamFrame(stream, frame, stamp_ns) for stream, frame in zip(streams, frames, strict=True)]
        return [result.label_map for result in segmenter.step_batch(batch)]

    return step


def _clip(segmenter: Segmenter, setting: Setting) -> Step:
    model, device = cast_once(segmenter.model, PRECISIONS[setting.precision]), segmenter.device

    @torch.inference_mode()
    def step(frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        # The same picture three times costs what three pictures cost.
        clips = upload(frames, device)[:, None].expand(-1, 1 + len(model.reference_ages_s), -1, -1, -1)
        with autocast(setting):
            logits = model(clips)
        return upsample_argmax(logits, setting.size_hw).label_map.cpu().numpy()

    return step


def _hugging_face(name: str, setting: Setting) -> Step:
    device, tuned = torch.device(setting.device), name != SEGFORMER_EAGER
    model, layout = hugging_face_segformer(setting, tuned=tuned)
    if name == SEGFORMER_COMPILED:
        model = torch.compile(model, mode="reduce-overhead" if device.type == "cuda" else None)
    normalize = ImageNormalization().to(device)
    # The tuned peer is replayed as a graph, as the stream is; compiled, it has graphs of its own.
    recorded = RecordedCalls(CudaGraphRecorder(device)) if name == SEGFORMER_SDPA and device.type == "cuda" else None

    def forward(pixels: Tensor) -> Tensor:
        with autocast(setting, remembers_casts=recorded is None):
            return model(pixels).logits

    @torch.inference_mode()
    def step(frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        pixels = normalize(upload(frames, device)).contiguous(memory_format=layout)
        logits = recorded(forward, pixels) if recorded else forward(pixels)
        return upsample_then_argmax(logits, setting.size_hw).cpu().numpy()

    return step
