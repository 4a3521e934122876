"""The contract between networks and everything that runs them: encode each frame once, align, decide."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sdcpc_core.errors import InputError

FrameState: TypeAlias = tuple[Tensor, ...]
"""What a stream keeps of one frame: a ``NamedTuple`` of tensors, batch first.

A named tuple, because ``torch.export`` and ``torch.compile`` take it apart without being told how.
"""

AlignedReferences: TypeAlias = tuple[Tensor, ...]
"""What a target needs of its references: a ``NamedTuple`` of tensors, batch first, or ``()`` where there are none."""

MIN_SIDE = 32
"""Smallest height and width a network takes: one token at stride 32."""


class VideoModel(nn.Module, ABC):
    """A network that labels a target frame with the help of reference frames.

    ``encode`` sees one frame and ``align`` sees states only, so a stream encodes every frame once and keeps
    its state for as long as it may serve as a reference. ``align`` has two halves: ``align_references`` sees the past
    alone, so a stream can be done with it before the target arrives. All are free of data-dependent Python.

    Attributes:
        num_classes: number of classes K of the logits.
        reference_ages_s: how much older than the target each reference should be (s), nearest first;
            empty for a per-frame model.
        options: keyword arguments that build this model again, defaults included; JSON values.
        stride: pixels per step of the logits.
        parts: the modules that hold all parameters, by the names they have in papers, in the order of their work.
    """

    num_classes: int
    options: dict[str, Any]
    reference_ages_s: tuple[float, ...]
    stride: int

    @property
    @abstractmethod
    def parts(self) -> dict[str, nn.Module]: ...

    @abstractmethod
    def encode(self, images: Tensor) -> FrameState:
        """Compute all of a frame that does not depend on other frames.

        Args:
            images: (B, 3, H, W) RGB in 0..255, uint8 or float; H, W >= 32.

        Returns:
            State whose tensors have B as their first dimension.

        Raises:
            InputError: no such images.
        """

    @abstractmethod
    def align_references(self, references: Sequence[FrameState]) -> AlignedReferences:
        """Compute all of the alignment that does not depend on the target.

        Args:
            references: one state per entry of ``reference_ages_s``, nearest first.

        Raises:
            InputError: another number of references.
        """

    @abstractmethod
    def align_target(self, target: FrameState, references: AlignedReferences) -> Tensor:
        """Label the target frame.

        Args:
            target: state of the frame to label.
            references: of ``align_references``.

        Returns:
            Logits, (B, K, ceil(H / stride), ceil(W / stride)).
        """

    def align(self, target: FrameState, references: Sequence[FrameState]) -> Tensor:
        """Label the target frame in one go: ``align_target`` of ``align_references``, whose arguments these are."""
        return self.align_target(target, self.align_references(references))

    def forward(self, clip: Tensor) -> Tensor:
        """Label the last frame of each clip.

        Args:
            clip: (B, T, 3, H, W) RGB in 0..255 in the order of time; T = 1 + number of references. The last
                frame is the target, the one before it the nearest reference. One frame alone (T = 1) serves
                as its own references.

        Returns:
            Logits, (B, K, ceil(H / stride), ceil(W / stride)).

        Raises:
            InputError: the clip has another number of frames or channels, or is too small.
        """
        num_references = len(self.reference_ages_s)
        check_clip(clip, num_references)
        batch, frames = clip.shape[:2]
        states = split_state(self.encode(clip.flatten(0, 1)), batch, frames)
        references = states[-2::-1] if frames > 1 else states * num_references
        return self.align(states[-1], references)

    def check_references(self, references: Sequence[FrameState]) -> None:
        """Refuse another number of references than the model takes.

        Raises:
            InputError: it is another.
        """
        if len(references) != len(self.reference_ages_s):
            raise InputError(f"{len(references)} references; the model takes {len(self.reference_ages_s)}")


def check_images(images: Tensor) -> None:
    """Refuse what no network can encode.

    Raises:
        InputError: wrong dimensions or channels, or a side below 32 pixels.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images have shape (B, 3, H, W); these have {tuple(images.shape)}")
    check_size(images.shape[-2:])


def check_clip(clip: Tensor, num_references: int) -> None:
    """Refuse what is not a clip for a model with this many references.

    Raises:
        InputError: wrong dimensions, channels, number of frames, or a side below 32 pixels.
    """
    if clip.ndim != 5 or clip.shape[2] != 3:
        raise InputError(f"a clip has shape (B, T, 3, H, W); this one has {tuple(clip.shape)}")
    if clip.shape[1] not in (1, 1 + num_references):
        whole = f"{1 + num_references} ({num_references} references, then the target) or " if num_references else ""
        raise InputError(f"the clip has {clip.shape[1]} frames; the model takes {whole}1")
    check_size(clip.shape[-2:])


def check_size(size_hw: Sequence[int]) -> None:
    """Refuse frames too small for stride 32.

    Raises:
        InputError: a side is below 32 pixels.
    """
    if min(size_hw) < MIN_SIDE:
        raise InputError(f"frame of {size_hw[0]}x{size_hw[1]} pixels; height and width must be at least {MIN_SIDE}")


def split_state(state: FrameState, batch: int, frames: int) -> list[FrameState]:
    """Take the state of ``batch * frames`` images apart into one state per frame, batch outermost."""
    per_frame = [tensor.unflatten(0, (batch, frames)).unbind(1) for tensor in state]
    return [type(state)(*tensors) for tensors in zip(*per_frame, strict=True)]


def join_states(states: Sequence[FrameState]) -> FrameState:
    """Concatenate states, or aligned references, along the batch dimension; one alone is itself."""
    if len(states) == 1:
        return states[0]
    return type(states[0])(*(torch.cat(tensors) for tensors in zip(*states, strict=True)))


def unbind_state(state: FrameState) -> list[FrameState]:
    """Take a batch of states, or of aligned references, apart into batches of 1 that do not share memory."""
    parts = ([part.clone() for part in tensor.split(1)] if len(tensor) > 1 else [tensor] for tensor in state)
    return [type(state)(*tensors) for tensors in zip(*parts, strict=True)]
