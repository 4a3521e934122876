"""Training samples: clips of three frames, or their last frame alone."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from torch.utils.data import Dataset, Sampler

from sdcpc_core.data.dataset import DataSet, check_sequence
from sdcpc_core.data.synthetic import SyntheticDrive
from sdcpc_core.data.transforms import (
    random_crop_matrix,
    random_degradation,
    random_ego_motion,
    random_photometry,
    warp_image,
    warp_label_map,
)
from sdcpc_core.errors import ConfigError

MAX_FRAMES = 3
"""A target and its two references."""
CLIP_RATE_HZ = 15.0
TRAINING_SEEDS = range(0, 10_000_000)
"""Synthetic drives of training. Evaluation and demo take theirs from 20 000 000 on, so that none is ever seen."""
SYNTHETIC_SIZE_HW = (360, 480)
SYNTHETIC_FRAMES = 150
"""Clips are cut from the first ten seconds of a drive."""
SYNTHETIC_DRIVES = 12
"""Drives in use at a time; one is exchanged per epoch. Building one takes as long as rendering a dozen frames, so
each loader process keeps them, at about 75 MB each."""
TARGET_DEGRADED = 0.25
REFERENCE_DEGRADED = 0.25
"""How often a target and a reference are blurred, noisy or partly covered."""


class ClipSample(NamedTuple):
    """One training sample, or a batch of them once collated.

    Attributes:
        frames: (T, 3, H, W) uint8 RGB, oldest first: of the farther and the nearer reference and the target the last T.
        labels: (T, H, W) uint8 class ids of the frames, 255 unlabelled; of the references, some have no labels.
    """

    frames: np.ndarray
    labels: np.ndarray


class SampleKey(NamedTuple):
    """Names one sample of the endless training stream.

    Attributes:
        epoch: which pass over the labelled frames.
        index: of the labelled frame.
        num_frames: T of the sample, 1..3; what is drawn for all its frames together does not depend on it.
    """

    epoch: int
    index: int
    num_frames: int = MAX_FRAMES


class _RawClip(NamedTuple):
    """Frames as they were read or rendered, oldest first, and how the camera moves each of them, (3, 3)."""

    images: list[np.ndarray]
    label_maps: list[np.ndarray]
    motion: list[np.ndarray]


class TrainingClips(Dataset[ClipSample]):
    """Clips that end in the labelled frames of a data set, mixed with clips of the synthetic drive.

    A frame of a video has its references there. CamVid's training frames lie a second apart and Cityscapes may come
    without its snippets, so that the past of a frame is not there: the references are then the labelled frame itself,
    moved as a driving camera would see it and degraded on its own. The synthetic drive adds clips of real parallax
    and moving objects, in CamVid's classes.

    Every draw is a function of (seed, epoch, index), the index counting the labelled frames.

    Args:
        data: the labelled frames.
        seed: of all draws.
        crop_hw: size of the clips (pixels).
        scale_range: smallest and largest resize factor.
        synthetic_fraction: share of the clips that come from the synthetic drive, 0..1.
        reference_offsets: how many frames before the target its references lie, the nearer first.

    Raises:
        ConfigError: the synthetic drive is shorter than the offsets.
    """

    def __init__(
        self,
        data: DataSet,
        *,
        seed: int,
        crop_hw: tuple[int, int],
        scale_range: tuple[float, float],
        synthetic_fraction: float,
        reference_offsets: tuple[int, int],
    ) -> None:
        if synthetic_fraction and reference_offsets[1] >= SYNTHETIC_FRAMES:
            raise ConfigError(
                f"data.reference_offsets is {list(reference_offsets)}, but a synthetic drive has {SYNTHETIC_FRAMES} "
                "frames; take smaller ones or set data.synthetic_fraction to 0"
            )
        self._data = data
        self._seed = seed
        self._crop_hw = crop_hw
        self._scale_range = scale_range
        self._synthetic_fraction = synthetic_fraction
        self._offsets = reference_offsets[::-1]

    def __len__(self) -> int:
        return len(self._data.labelled)

    def __getitem__(self, key: SampleKey) -> ClipSample:
        rng = np.random.default_rng((self._seed, key.epoch, key.index))
        if rng.random() < self._synthetic_fraction:
            images, label_maps, motion = self._synthetic(rng, key)
        else:
            images, label_maps, motion = self._of_data(rng, self._data.labelled[key.index], key.num_frames)
        crop = random_crop_matrix(rng, label_maps[-1], self._crop_hw, self._scale_range)
        matrices = [crop @ move for move in motion]
        frames = [warp_image(image, matrix, self._crop_hw) for image, matrix in zip(images, matrices, strict=True)]
        labels = [warp_label_map(ids, matrix, self._crop_hw) for ids, matrix in zip(label_maps, matrices, strict=True)]
        return ClipSample(np.stack(_photometry(rng, frames)).transpose(0, 3, 1, 2).copy(), np.stack(labels))

    def _of_data(self, rng: Generator, index: int, num_frames: int) -> _RawClip:
        target = self._data[index]
        size_hw = target.label_map.shape
        references = self._data.references(index, self._offsets)
        if references is None:
            motion = random_ego_motion(rng, size_hw)[-num_frames:]
            return _RawClip([target.image] * len(motion), [target.label_map] * len(motion), motion)
        references = references[len(references) + 1 - num_frames :]
        frames = [*(self._data[reference] for reference in references), target]
        for reference, frame in zip(references, frames, strict=False):
            check_sequence(self._data.records[reference], frame.label_map.shape, size_hw)
        motion = [np.eye(3)] * len(frames)
        return _RawClip([frame.image for frame in frames], [frame.label_map for frame in frames], motion)

    def _synthetic(self, rng: Generator, key: SampleKey) -> _RawClip:
        drive = _training_drive(self._seed, key.epoch + int(rng.integers(SYNTHETIC_DRIVES)))
        target = int(rng.integers(max(self._offsets), SYNTHETIC_FRAMES))
        offsets = (*self._offsets, 0)[-key.num_frames :]
        frames = [drive.frame(target - offset) for offset in offsets]
        motion = [np.eye(3)] * len(frames)
        return _RawClip([frame.image for frame in frames], [frame.label_map for frame in frames], motion)


@lru_cache(SYNTHETIC_DRIVES)
def _training_drive(seed: int, index: int) -> SyntheticDrive:
    drive_seed = int(np.random.default_rng((seed, index)).integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop))
    return SyntheticDrive(drive_seed, SYNTHETIC_SIZE_HW, CLIP_RATE_HZ)


def _photometry(rng: Generator, frames: list[np.ndarray]) -> list[np.ndarray]:
    frames = random_photometry(rng, frames)
    *references, target = (random_photometry(rng, [frame], strength=0.15)[0] for frame in frames)
    chances = (*[REFERENCE_DEGRADED] * len(references), TARGET_DEGRADED)
    return [
        random_degradation(rng, frame) if rng.random() < chance else frame
        for frame, chance in zip((*references, target), chances, strict=True)
    ]


class SampleStream(Sampler[SampleKey]):
    """The endless stream of shuffled epochs, cut into rounds.

    Round r always yields the same samples, so training resumed at the start of a round sees what the unbroken
    training would have seen. Processes that train together share each batch: its first ``batch_size`` samples are the
    first process's, the next ones the second's.

    Args:
        num_samples: in one epoch.
        round_length: samples of this process in a round, a multiple of ``batch_size``.
        seed: of the shuffling.
        batch_size: samples of this process in a batch.
        rank: number of this process.
        num_processes: how many there are.
        clip_length: asked at the start of each round for the number of frames of its samples.
    """

    def __init__(
        self,
        num_samples: int,
        round_length: int,
        seed: int,
        *,
        batch_size: int = 1,
        rank: int = 0,
        num_processes: int = 1,
        clip_length: Callable[[], int] = lambda: MAX_FRAMES,
    ) -> None:
        self._num_samples = num_samples
        self._round_length = round_length
        self._seed = seed
        self._batch_size = batch_size
        self._rank = rank
        self._num_processes = num_processes
        self._clip_length = clip_length
        self._round = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the round; the training loop calls this with its own count."""
        self._round = epoch

    def __len__(self) -> int:
        return self._round_length

    def __iter__(self) -> Iterator[SampleKey]:
        num_frames = self._clip_length()
        start = self._round * self._round_length
        shuffled_epoch, order = -1, np.empty(0, int)
        for sample in range(start, start + self._round_length):
            batch, place = divmod(sample, self._batch_size)
            position = (batch * self._num_processes + self._rank) * self._batch_size + place
            epoch, turn = divmod(position, self._num_samples)
            if epoch != shuffled_epoch:
                shuffled_epoch, order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._num_samples)
            yield SampleKey(epoch, int(order[turn]), num_frames)
