"""One camera's stream: the frames that go into it, the answers that come out, and what it remembers between them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdcpc_core.phase_clock import StepTimings
from sdcpc_core.stream_state import ResetReason, StreamCounts, StreamState

if TYPE_CHECKING:
    from sdcpc_core.streaming import Segmenter


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
        label_map: class ids at the size of the frame, (H, W) uint8; uint16 over 255 classes. With CUDA in page-locked
            memory: copy what is kept for long.
        confidence: probability of the label times 255, like the label map; None when not asked for.
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


class Stream:
    """One camera's stream: a segmenter and the state of the camera's past frames; made by ``Segmenter.stream``.

    Attributes:
        segmenter: the network, shared with other streams.
        state: what is remembered of past frames; ``len(stream.state)`` frames.
    """

    def __init__(self, segmenter: "Segmenter", state: StreamState) -> None:
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

    def prepare(self) -> None:
        """Do ahead what the next frame needs of the past, as ``Segmenter.prepare``."""
        self.segmenter.prepare([self])

    def reset(self) -> None:
        """Forget all past frames; the next frame starts anew."""
        self.state.reset()
