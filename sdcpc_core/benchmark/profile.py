"""Where the time of a step goes: its parts, each beside the least time that its operations and its bytes take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from sdcpc_core.benchmark.contenders import (
    WARM_UP_STEPS,
    build_contender,
    build_segmenter,
    model_options,
    running,
    upload,
    upsample_then_argmax,
)
from sdcpc_core.benchmark.frames import frames
from sdcpc_core.benchmark.hugging_face import hugging_face_segformer
from sdcpc_core.benchmark.parts import SplitStep
from sdcpc_core.benchmark.roofline import DeviceClock, Roofline, measure_roofline
from sdcpc_core.benchmark.setting import OWN_SEGFORMER, SEGFORMER_SDPA, STREAM, Setting
from sdcpc_core.cost import Operations, model_cost
from sdcpc_core.models import build_model
from sdcpc_core.models.normalization import ImageNormalization
from sdcpc_core.models.sdcpc import SDCPC
from sdcpc_core.models.segformer import SegFormer
from sdcpc_core.ops.upsample_argmax import upsample_argmax
from sdcpc_core.placed_model import PRECISIONS, cast_once

PROFILE_ROUNDS = 10
"""At most: shares of a step need fewer than the ratio of two peers that are close."""


@dataclass(frozen=True)
class Profile:
    """Steps in parts, measured in turn.

    Attributes:
        roofline: of the device, measured in the same run.
        steps: by contender.
    """

    roofline: Roofline
    steps: dict[str, SplitStep]


def profile(setting: Setting, rounds: int) -> Profile:
    """Split the stream's step and that of SegFormer, ours and the Hugging Face's tuned one, where it has this backbone.

    Args:
        setting: see there.
        rounds: timed runs of each step and of its parts, ``PROFILE_ROUNDS`` at most.

    Raises:
        MissingDependencyError: transformers is not installed.
    """
    device = torch.device(setting.device)
    roofline = measure_roofline(device, PRECISIONS[setting.precision])
    steps = {STREAM: stream_step(setting), OWN_SEGFORMER: _own_segformer_step(setting)}
    if setting.mit_size:
        steps[SEGFORMER_SDPA] = _hugging_face_step(setting)
    whole = {name: build_contender(name, setting) for name in steps}
    pictures, clock = frames(setting), DeviceClock(device)
    # The parts have run once already, when the step was split.
    for _ in range(WARM_UP_STEPS):
        for step in whole.values():
            step(next(pictures))
    for _ in range(min(rounds, PROFILE_ROUNDS)):
        for name, step in steps.items():
            batch, start_s = next(pictures), time.perf_counter()
            whole[name](batch)
            step.step_ms.append((time.perf_counter() - start_s) * 1e3)
            with running(setting):  # once around all parts, as around the step: it remembers the weights it casts
                for part in step.parts:
                    part.times_ms.append(clock.time_ms(part.run))
    return Profile(roofline, steps)


@cache
def operations(model: str, size_hw: tuple[int, int], num_classes: int, num_points: int | None) -> dict[str, Operations]:
    """Operations of a step of a stream, by part of the model, for one camera."""
    with torch.device("meta"):
        shell = build_model(model, num_classes, **model_options(model, num_points))
    return {name: cost.stream for name, cost in model_cost(shell, size_hw, 1).parts.items()}


def stream_step(setting: Setting) -> SplitStep:
    """The stream's step in parts, which are to be run ``running`` at the setting."""
    model: SDCPC = _network(setting.model, setting)
    macs = _macs(setting.model, setting)
    device = torch.device(setting.device)
    pictures = frames(setting)
    # Each stage has one unit that relates the references and one that aligns the target.
    unit_macs = (macs["DSSA stage 1"] + macs["DSSA stage 2"]) // 2
    static_macs = macs["fusion"] + macs["DCN"] + macs["LA"]
    step = SplitStep(setting)
    with running(setting):
        # Two earlier frames, each encoded in a step of its own.
        far, near = (model.encode(upload(next(pictures), device)).static for _ in range(2))
        images = _upload(step, next(pictures))
        features = step.part("encoder", _encode, model, images, modules=[model.backbone], macs=macs["encoder"])
        static = step.part("SSEA", model.ssea, features, modules=[model.ssea], macs=static_macs)
        dssa = {"modules": [model.dssa], "macs": unit_macs}
        references = step.part("reference work", model.dssa.align_references, near, far, **dssa)
        aligned = step.part("DSSA", model.dssa.align_target, static, *references, **dssa)
        logits = step.part("head", model.head, aligned, modules=[model.head], macs=macs["head"])
        _decide(step, _fused_decision, logits)
    return step


def _network(name: str, setting: Setting) -> SDCPC | SegFormer:
    return cast_once(build_segmenter(name, setting).model, PRECISIONS[setting.precision])


def _own_segformer_step(setting: Setting) -> SplitStep:
    model: SegFormer = _network(f"segformer_{setting.backbone}", setting)
    return _segformer_step(setting, partial(_encode, model), model.backbone, model.decode_head, _fused_decision)


def _hugging_face_step(setting: Setting) -> SplitStep:
    model, layout = hugging_face_segformer(setting, tuned=True)
    normalize = ImageNormalization().to(setting.device)

    def encode(images: Tensor) -> Sequence[Tensor]:
        pixels = normalize(images).contiguous(memory_format=layout)
        return model.segformer(pixels, output_hidden_states=True).hidden_states

    return _segformer_step(setting, encode, model.segformer, model.decode_head, upsample_then_argmax)


def _segformer_step(
    setting: Setting,
    encode: Callable[[Tensor], Sequence[Tensor]],
    encoder: nn.Module,
    head: nn.Module,
    decide: Callable[[Tensor, tuple[int, int]], Tensor],
) -> SplitStep:
    macs = _macs(f"segformer_{setting.backbone}", setting)
    step = SplitStep(setting)
    with running(setting):
        images = _upload(step, next(frames(setting)))
        features = step.part("encoder", encode, images, modules=[encoder], macs=macs["encoder"])
        logits = step.part("head", head, features, modules=[head], macs=macs["decoder"])
        _decide(step, decide, logits)
    return step


def _upload(step: SplitStep, pictures: Sequence[np.ndarray]) -> Tensor:
    return step.part("upload", partial(upload, device=torch.device(step.setting.device)), pictures, route="upload")


def _decide(step: SplitStep, decide: Callable[[Tensor, tuple[int, int]], Tensor], logits: Tensor) -> None:
    labels = step.part("upsample + argmax", decide, logits, step.setting.size_hw)
    step.part("download", Tensor.cpu, labels, route="download")


def _fused_decision(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return upsample_argmax(logits, size_hw).label_map


def _encode(model: SDCPC | SegFormer, images: Tensor) -> Sequence[Tensor]:
    return model.backbone(model.normalization(images))


def _macs(model: str, setting: Setting) -> dict[str, int]:
    counted = operations(model, setting.size_hw, setting.num_classes, setting.num_points)
    return {name: of.macs_with_attention for name, of in counted.items()}
