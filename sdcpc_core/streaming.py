"""Streaming inference: a network that serves any number of streams, each frame encoded once."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.checkpoint import default_checkpoint, load_checkpoint
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet
from sdcpc_core.models.video_model import MIN_SIDE, VideoModel, join_states, unbind_state
from sdcpc_core.ops.upsample_argmax import upsample_argmax
from sdcpc_core.phase_clock import PhaseClock, StepTimings
from sdcpc_core.reference_cache import NS_PER_S
from sdcpc_core.stream_state import Arrival, ResetReason, StreamCounts, StreamState

__all__ = ["ResetReason", "Segmenter", "StepResult", "Stream", "StreamCounts", "StreamFrame"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STRIDE = 8


@dataclass(frozen=True)
class StreamFrame:
    """A frame and the stream it belongs to.

    Attributes:
        stream: made by the segmenter that steps it.
        frame: (H, W, 3) uint8 RGB, H, W >= 32.
        stamp_ns: time of exposure; zero, None or a repetition means unknown.
        frame_id: coordinate frame of the camera; a change resets the stream.
        receive_ns: when the frame arrived, used where the stamp is unknown; now by default.
    """

    stream: "Stream"
    frame: np.ndarray
    stamp_ns: int | None
    frame_id: str = ""
    receive_ns: int | None = None


@dataclass(frozen=True)
class StepResult:
    """The answer to one frame.

    Attributes:
        label_map: class ids at the size of the frame, (H, W) uint8; uint16 over 255 classes.
        confidence: probability of the label times 255, (H, W) uint8; None when not asked for.
        stamp_ns: time of the frame in its stream.
        reference_ages_s: how much older each reference was (s), nearest first; 0.0 is the frame itself.
        reset: why the stream was reset before this frame, or None.
        timings: where the time went; frames of one batch share it.
    """

    label_map: np.ndarray
    confidence: np.ndarray | None
    stamp_ns: int
    reference_ages_s: tuple[float, ...]
    reset: ResetReason | None
    timings: StepTimings


class Segmenter:
    """A network ready to run: weights, labels, device and precision, but no state of any stream.

    Args:
        model: moved to the device and put into evaluation mode.
        labels: what its class ids mean.
        working_size_hw: frames are resized, keeping their aspect, to about as many pixels as this before the
            network sees them; None takes them as they are.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.

    Raises:
        ConfigError: a value that cannot work, or a device that is not there.
    """

    def __init__(
        self,
        model: VideoModel,
        labels: LabelSet,
        working_size_hw: tuple[int, int] | None = None,
        *,
        device: str = "auto",
        precision: str = "fp32",
    ) -> None:
        if model.num_classes != labels.num_classes:
            raise ConfigError(f"the model has {model.num_classes} classes, its label set {labels.num_classes}")
        if precision not in PRECISIONS:
            raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
        if working_size_hw is not None and min(working_size_hw) < MIN_SIDE:
            raise ConfigError(f"working_size_hw is {working_size_hw}; height and width must be at least {MIN_SIDE}")
        self.device = find_device(device)
        self.labels = labels
        self.working_size_hw = working_size_hw
        self.precision = precision
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        *,
        working_size_hw: tuple[int, int] | None = None,
        device: str = "auto",
        precision: str = "fp32",
    ) -> "Segmenter":
        """Load a checkpoint; without a path the one that comes with the package.

        Args:
            path: checkpoint file.
            working_size_hw: the checkpoint's own by default.
            device: see the class.
            precision: see the class.

        Raises:
            CheckpointError: the file is missing or broken.
            ConfigError: a value that cannot work.
        """
        model, header = load_checkpoint(path or default_checkpoint())
        size_hw = working_size_hw or header.working_size_hw
        return cls(model, header.labels, size_hw, device=device, precision=precision)

    def stream(
        self,
        *,
        max_gap_s: float = 2.0,
        reference_ages_s: Sequence[float] | None = None,
        reference_offsets: Sequence[int] | None = None,
    ) -> "Stream":
        """Start the stream of one camera.

        Args:
            max_gap_s: a longer silence resets the stream (s).
            reference_ages_s: the model's own by default.
            reference_offsets: choose references by frame count instead; ``()`` for none but the frame itself.

        Raises:
            ConfigError: not as many references as the model takes, or a value that is not positive.
        """
        ages_s = self.model.reference_ages_s if reference_ages_s is None else tuple(reference_ages_s)
        for chosen in (ages_s, reference_offsets or ages_s):
            if len(chosen) != len(self.model.reference_ages_s):
                raise ConfigError(f"the model takes {len(self.model.reference_ages_s)} references, not {list(chosen)}")
        return Stream(self, StreamState(ages_s, max_gap_s=max_gap_s, reference_offsets=reference_offsets))

    def step_batch(self, frames: Sequence[StreamFrame], *, with_confidence: bool = False) -> list[StepResult]:
        """Segment one frame of each of several streams; frames of equal size pass the network together.

        Args:
            frames: at most one per stream.
            with_confidence: also compute the confidence.

        Returns:
            One result per frame, in their order.

        Raises:
            InputError: a frame that is no image, or two frames of one stream. No stream has changed then.
        """
        if len({id(f.stream) for f in frames}) < len(frames):
            raise InputError("two frames of one stream in a batch; step them one after the other")
        if any(f.stream.segmenter is not self for f in frames):
            raise InputError("a stream of another segmenter in the batch; make it with this segmenter's stream()")
        arrivals = [f.stream.state.receive(f.frame, f.stamp_ns, f.frame_id, f.receive_ns) for f in frames]
        by_size = sorted(range(len(frames)), key=lambda i: arrivals[i].size_hw)
        results: dict[int, StepResult] = {}
        for _, indices in groupby(by_size, key=lambda i: arrivals[i].size_hw):
            group = list(indices)
            answers = self._step_group([frames[i] for i in group], [arrivals[i] for i in group], with_confidence)
            results.update(zip(group, answers, strict=True))
        return [results[i] for i in range(len(frames))]

    def warm_up(self, size_hw: tuple[int, int]) -> None:
        """Run frames of a size once, so that the first real one does not pay for set-up."""
        black = np.zeros((*size_hw, 3), np.uint8)
        stream = self.stream()
        for stamp_ns in (1, 2):
            stream.step(black, stamp_ns)

    @torch.inference_mode()
    def _step_group(
        self, frames: list[StreamFrame], arrivals: list[Arrival], with_confidence: bool
    ) -> list[StepResult]:
        clock = PhaseClock(self.device)
        images = self._upload([f.frame for f in frames])
        clock.mark()
        with self._autocast():
            target = self.model.encode(images)
            clock.mark()
            states = unbind_state(target)
            chosen = [f.stream.state.accept(arrival) for f, arrival in zip(frames, arrivals, strict=True)]
            num_references = len(self.model.reference_ages_s)
            references = [
                join_states([past[i].state if past else own for past, own in zip(chosen, states, strict=True)])
                for i in range(num_references)
            ]
            logits = self.model.align(target, references)
        clock.mark()
        decision = upsample_argmax(logits, arrivals[0].size_hw, with_confidence=with_confidence)
        label_maps = decision.label_map.cpu().numpy().astype(self.labels.label_dtype, copy=False)
        confidences = [None] * len(frames) if decision.confidence is None else decision.confidence.cpu().numpy()
        timings = clock.stop()
        results = []
        for index, (frame, arrival, past) in enumerate(zip(frames, arrivals, chosen, strict=True)):
            frame.stream.state.remember(arrival, states[index])
            ages_s = tuple((arrival.stamp_ns - p.stamp_ns) / NS_PER_S for p in past) or (0.0,) * num_references
            results.append(
                StepResult(label_maps[index], confidences[index], arrival.stamp_ns, ages_s, arrival.reset, timings)
            )
        return results

    def _upload(self, frames: list[np.ndarray]) -> Tensor:
        # Frames are often views into a message that says read-only, which torch warns about; it never writes.
        stacked = np.stack(frames) if len(frames) > 1 else np.array(frames[0])[None]
        images = torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2)
        size_hw = self.working_size(images.shape[-2:])
        if size_hw == tuple(images.shape[-2:]):
            return images
        # On the CPU bytes are resized several times faster than floats; CUDA resizes floats only.
        images = images if self.device.type == "cpu" else images.float()
        return F.interpolate(images, size_hw, mode="bilinear", align_corners=False, antialias=True)

    def working_size(self, size_hw: Sequence[int]) -> tuple[int, int]:
        """Size in pixels the network sees of a frame: the frame's aspect, the working size's area."""
        height, width = size_hw
        if self.working_size_hw is None or (height, width) == tuple(self.working_size_hw):
            return height, width
        scale = (self.working_size_hw[0] * self.working_size_hw[1] / (height * width)) ** 0.5
        return tuple(max(MIN_SIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width))

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32")


class Stream:
    """One camera's stream: a segmenter and the state of the camera's past frames; made by ``Segmenter.stream``.

    Attributes:
        segmenter: the network, shared with other streams.
        state: what is remembered of past frames; ``len(stream.state)`` frames.
    """

    def __init__(self, segmenter: Segmenter, state: StreamState) -> None:
        self.segmenter = segmenter
        self.state = state

    @property
    def counts(self) -> StreamCounts:
        """Frames, resets and unusable stamps so far."""
        return self.state.counts

    def step(
        self,
        frame: np.ndarray,
        stamp_ns: int | None,
        *,
        frame_id: str = "",
        receive_ns: int | None = None,
        with_confidence: bool = False,
    ) -> StepResult:
        """Segment the next frame; the arguments are those of ``StreamFrame`` and ``Segmenter.step_batch``.

        Raises:
            InputError: the frame is no (H, W, 3) uint8 image; the stream is as it was before.
        """
        stream_frame = StreamFrame(self, frame, stamp_ns, frame_id, receive_ns)
        return self.segmenter.step_batch([stream_frame], with_confidence=with_confidence)[0]

    def reset(self) -> None:
        """Forget all past frames; the next frame starts anew."""
        self.state.reset()


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
