"""Streaming inference: a network that serves any number of streams, each frame encoded once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from sdcpc_core.checkpoint import default_checkpoint, load_checkpoint
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet
from sdcpc_core.models.video_model import VideoModel, join_states, unbind_state
from sdcpc_core.ops.upsample_argmax import Decision, upsample_argmax
from sdcpc_core.phase_clock import PhaseClock
from sdcpc_core.placed_model import PRECISIONS, PlacedModel, find_device
from sdcpc_core.reference_cache import NS_PER_S, CachedFrame, ReadyReferences
from sdcpc_core.stream import StepResult, Stream, StreamFrame
from sdcpc_core.stream_state import Arrival, ResetReason, StreamCounts, StreamState

__all__ = [
    "PRECISIONS",
    "ResetReason",
    "Segmenter",
    "StepResult",
    "Stream",
    "StreamCounts",
    "StreamFrame",
    "find_device",
]


_Wanted: TypeAlias = tuple[StreamState, Sequence[CachedFrame]]
"""A stream, and the references that its frame chose or that its next one is expected to choose."""


class _Launch(NamedTuple):
    """Frames at work on the device; what is decided can be read when the clock has been."""

    arrivals: list[Arrival]
    references: list[Sequence[CachedFrame]]
    decision: Decision
    clock: PhaseClock


class Segmenter:
    """A network ready to run: weights, labels, device and precision, but no state of any stream.

    Args:
        model: moved to the device and put into evaluation mode.
        labels: what its class ids mean.
        working_size_hw: frames are resized, keeping their aspect, to about as many pixels as this before the
            network sees them; None takes them as they are.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        cuda_graphs: on CUDA, replay the network as graphs, captured at the first frame of each size.

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
        cuda_graphs: bool = True,
    ) -> None:
        if model.num_classes != labels.num_classes:
            raise ConfigError(f"the model has {model.num_classes} classes, its label set {labels.num_classes}")
        self.device = find_device(device)
        self.labels = labels
        self.model = model
        self.working_size_hw = working_size_hw
        self.precision = precision
        self._placed = PlacedModel(model, self.device, precision, working_size_hw, cuda_graphs=cuda_graphs)

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
    ) -> Stream:
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
        self._check_own(f.stream for f in frames)
        arrivals = [f.stream.state.receive(f.frame, f.stamp_ns, f.frame_id, f.receive_ns) for f in frames]
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            groups[arrival.size_hw].append(index)
        results: dict[int, StepResult] = {}
        with self._placed.running():
            launches = [
                self._launch([frames[i] for i in group], [arrivals[i] for i in group], with_confidence)
                for group in groups.values()
            ]
            for group, launch in zip(groups.values(), launches, strict=True):
                results.update(zip(group, self._collect(launch), strict=True))
        return [results[i] for i in range(len(frames))]

    def prepare(self, streams: Iterable[Stream]) -> None:
        """Do ahead what the next frames need of the past, while nothing waits for an answer.

        The references that the next frame of each stream will choose, if it comes after the same time as the last, are
        aligned with each other. A frame that chooses others aligns them itself: answers are the same, only sooner.
        On CUDA this returns at once.

        Args:
            streams: made by this segmenter.

        Raises:
            InputError: a stream of another segmenter.
        """
        streams = list(streams)
        self._check_own(streams)
        groups: defaultdict[tuple[int, int] | None, list[_Wanted]] = defaultdict(list)
        for state in (stream.state for stream in streams):
            groups[state.size_hw].append((state, state.expected_references()))
        with self._placed.running():
            for group in groups.values():
                self._align_references(group)

    def warm_up(self, size_hw: tuple[int, int], num_streams: int = 1) -> None:
        """Run frames of a size once, so that the first real ones do not pay for set-up.

        Args:
            size_hw: height and width of the frames in pixels.
            num_streams: the most that will be stepped together.
        """
        black = np.zeros((*size_hw, 3), np.uint8)
        # A graph is of one number of streams; the CPU sets nothing up that knows it.
        for batch in range(1, num_streams + 1) if self.device.type == "cuda" else (1,):
            streams = [self.stream() for _ in range(batch)]
            for stamp_ns, with_confidence in ((1, False), (2, True)):
                frames = [StreamFrame(stream, black, stamp_ns) for stream in streams]
                self.step_batch(frames, with_confidence=with_confidence)

    def working_size(self, size_hw: Sequence[int]) -> tuple[int, int]:
        """Size in pixels the network sees of a frame: the frame's aspect, the working size's area."""
        return self._placed.working_size(size_hw)

    def _check_own(self, streams: Iterable[Stream]) -> None:
        if any(stream.segmenter is not self for stream in streams):
            raise InputError("a stream of another segmenter; make it with this segmenter's stream()")

    def _launch(self, frames: list[StreamFrame], arrivals: list[Arrival], with_confidence: bool) -> _Launch:
        clock = PhaseClock(self.device)
        states = [f.stream.state for f in frames]
        images = self._placed.upload([f.frame for f in frames])
        clock.mark()
        target = self._placed.encode(images)
        clock.mark()
        targets = [CachedFrame(a.stamp_ns, own) for a, own in zip(arrivals, unbind_state(target), strict=True)]
        references = [
            state.accept(arrival) or [itself] * len(self.model.reference_ages_s)
            for state, arrival, itself in zip(states, arrivals, targets, strict=True)
        ]
        self._align_references(list(zip(states, references, strict=True)))
        clock.mark()
        logits = self._placed.align_target(target, join_states([state.ready.aligned for state in states]))
        clock.mark()
        decision = upsample_argmax(logits, arrivals[0].size_hw, with_confidence=with_confidence)
        decision = Decision(*(None if part is None else part.to("cpu", non_blocking=True) for part in decision))
        clock.mark()
        for state, arrival, itself in zip(states, arrivals, targets, strict=True):
            state.remember(arrival, itself)
        return _Launch(arrivals, references, decision, clock)

    def _align_references(self, wanted: Sequence[_Wanted]) -> None:
        """Have the references of streams of one frame size ready, where they are not."""
        missing = [(state, frames) for state, frames in wanted if frames and not state.ready.serve(frames)]
        if not missing:
            return
        of_ages = zip(*([frame.state for frame in frames] for _, frames in missing), strict=True)
        aligned = self._placed.align_references([join_states(states) for states in of_ages])
        for (state, frames), own in zip(missing, unbind_state(aligned), strict=True):
            state.ready = ReadyReferences(frames, own)

    def _collect(self, launch: _Launch) -> list[StepResult]:
        timings = launch.clock.read()
        label_maps = launch.decision.label_map.numpy().astype(self.labels.label_dtype, copy=False)
        confidences = launch.decision.confidence
        results = []
        for index, (arrival, references) in enumerate(zip(launch.arrivals, launch.references, strict=True)):
            ages_s = tuple((arrival.stamp_ns - reference.stamp_ns) / NS_PER_S for reference in references)
            confidence = None if confidences is None else confidences[index].numpy()
            results.append(StepResult(label_maps[index], confidence, arrival.stamp_ns, ages_s, arrival.reset, timings))
        return results
