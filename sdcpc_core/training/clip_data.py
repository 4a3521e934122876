"""What a run trains and validates on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sdcpc_core.data.clips import MAX_FRAMES, SampleStream, TrainingClips
from sdcpc_core.data.dataset import DataSet, LabelledFrame
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import CAMVID
from sdcpc_core.training.config import TrainConfig
from sdcpc_core.training.losses import balanced_class_weights


class ClipData(L.LightningDataModule):
    """A data set's training clips and validation run.

    Attributes:
        labels: its classes.
        clip_length: asked at the start of each round for the number of frames of its clips.
        provenance: what is trained on, for people.
        validation_protocol: how validation is done, for people.

    Raises:
        ConfigError: the synthetic drive is asked for and has other classes than the data set, or is too short.
        InputError: the data are not there or broken.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self._config = config
        self.clip_length: Callable[[], int] = lambda: MAX_FRAMES
        # A process whose share of the validation is empty waits for the others.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._train = open_data_set(config.data.kind, config.data.root, "train")
        val = open_data_set(config.data.kind, config.data.root, "val")
        self.labels = self._train.labels
        fraction = config.data.synthetic_fraction
        if fraction and self.labels != CAMVID:
            raise ConfigError(
                f"data.synthetic_fraction is {fraction}, but the synthetic drive has CamVid's classes, not those of "
                f"{self.labels.name!r}; set it to 0"
            )
        offsets = config.data.reference_offsets
        self._clips = TrainingClips(
            self._train,
            seed=config.seed,
            crop_hw=config.data.crop_hw,
            scale_range=config.data.scale_range,
            synthetic_fraction=fraction,
            reference_offsets=offsets,
        )
        every = validation_targets(val, stride=offsets[0])
        targets = evenly_spread(every, config.data.max_validation_frames)
        self._val = ValidationFrames(val, targets, offsets)
        val.check_frames(self._val.indices)
        sources = f"{self._train.title}{' and the synthetic drive' if fraction else ''}"
        self.provenance = "; ".join(filter(None, (sources, self._train.terms)))
        stride = f", one frame in {offsets[0]}" if len(every) < len(val.labelled) else ""
        limit = f", {len(targets)} of these {len(every)}, evenly spread" if len(targets) < len(every) else ""
        self.validation_protocol = f"{val.title}{stride}{limit}; the weights were selected on it"

    def class_weights(self) -> Tensor:
        """Weight of each class in the loss, (K,) float32."""
        frequencies = torch.from_numpy(self._train.class_frequencies())
        return balanced_class_weights(frequencies, self._config.optimizer.class_balance)

    def frame_size_hw(self) -> tuple[int, int]:
        """Height and width of the data set's frames (pixels)."""
        height, width = self._val[0].frame.label_map.shape
        return height, width

    def train_dataloader(self) -> DataLoader:
        config = self._config.data
        schedule = self._config.schedule
        rank, num_processes = self._place()
        samples = SampleStream(
            len(self._clips),
            schedule.validate_every * schedule.accumulate_batches * config.batch_size,
            self._config.seed,
            batch_size=config.batch_size,
            rank=rank,
            num_processes=num_processes,
            clip_length=lambda: self.clip_length(),
        )
        return DataLoader(
            self._clips,
            batch_size=config.batch_size,
            sampler=samples,
            num_workers=config.workers,
            worker_init_fn=_use_one_thread,
            # A forked process inherits OpenCV's locks without its threads, and waits for them for ever.
            multiprocessing_context="forkserver" if config.workers else None,
            persistent_workers=config.workers > 0,
            prefetch_factor=4 if config.workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._val.share(*self._place()), batch_size=None)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class ValidationFrame(NamedTuple):
    """A frame to score, or one that is there as a reference.

    Attributes:
        frame: picture and ground truth.
        index: of the frame in the data set.
        references: theirs, nearest first; None for a frame that is not scored.
    """

    frame: LabelledFrame
    index: int
    references: list[int] | None


class ValidationFrames(Dataset[ValidationFrame]):
    """Frames to validate on and their references, in the order of time.

    Args:
        data: where they are.
        targets: indices of the frames to score, ascending.
        reference_offsets: how many frames before the target its references lie, the nearer first.

    Attributes:
        indices: of the targets and their references, ascending.
    """

    def __init__(self, data: DataSet, targets: Sequence[int], reference_offsets: tuple[int, int]) -> None:
        self._data = data
        self._offsets = reference_offsets
        # What is no video has no references: a frame is its own.
        self._references = {
            target: data.references(target, reference_offsets) or [target] * len(reference_offsets)
            for target in targets
        }
        self.indices = sorted({*self._references, *(index for few in self._references.values() for index in few)})

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> ValidationFrame:
        index = self.indices[position]
        return ValidationFrame(self._data[index], index, self._references.get(index))

    def share(self, rank: int, num_processes: int) -> "ValidationFrames":
        """The targets of one of several processes, a stretch of them, with all their references."""
        targets = list(self._references)
        first, end = (len(targets) * place // num_processes for place in (rank, rank + 1))
        return ValidationFrames(self._data, targets[first:end], self._offsets)


def validation_targets(data: DataSet, stride: int) -> list[int]:
    """Frames worth scoring: the labelled ones, of a video one in ``stride``; indices, ascending.

    With the offset of the nearer reference as stride, most references are among them, and are encoded anyway.
    """
    first: dict[str, int] = {}
    return [
        index
        for index in data.labelled
        if data.references(index, ()) is None
        or (index - first.setdefault(data.records[index].sequence, index)) % stride == 0
    ]


def evenly_spread(indices: Sequence[int], limit: int | None) -> list[int]:
    """At most ``limit`` of the indices, as far apart as can be; all without a limit."""
    count = len(indices) if limit is None else min(limit, len(indices))
    return [indices[place * len(indices) // count] for place in range(count)]


def _use_one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
