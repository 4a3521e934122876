"""What a run trains and validates on."""

import cv2
import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sdcpc_core.data.clips import MAX_FRAMES, REFERENCE_OFFSETS, SampleStream, TrainingClips
from sdcpc_core.data.dataset import DataSet, LabelledFrame
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import CAMVID
from sdcpc_core.losses import balanced_class_weights
from sdcpc_core.training_config import TrainConfig

VALIDATION_STRIDE = REFERENCE_OFFSETS[0]
"""Every third frame is validated: its references are among those frames, so a third of the work suffices."""


class ClipData(L.LightningDataModule):
    """A data set's training clips and validation run.

    Attributes:
        labels: its classes.
        num_frames: of a training clip; set it to what the model takes.
        provenance: what is trained on, for people.
        validation_protocol: how validation is done, for people.

    Raises:
        ConfigError: the synthetic drive is asked for and has other classes than the data set.
        InputError: the data are not there or broken.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self._config = config
        self.num_frames = MAX_FRAMES
        self._train = open_data_set(config.data.kind, config.data.root, "train")
        val = open_data_set(config.data.kind, config.data.root, "val")
        self.labels = self._train.labels
        fraction = config.data.synthetic_fraction
        if fraction and self.labels != CAMVID:
            raise ConfigError(
                f"data.synthetic_fraction is {fraction}, but the synthetic drive has CamVid's classes, not those of "
                f"{self.labels.name!r}; set it to 0"
            )
        self._val = ValidationFrames(val)
        val.check_frames(self._val.indices)
        sources = f"{self._train.title}{' and the synthetic drive' if fraction else ''}"
        self.provenance = "; ".join(filter(None, (sources, self._train.terms)))
        every = f", every {VALIDATION_STRIDE}rd frame" if val.is_video else ""
        self.validation_protocol = f"{val.title}{every}; the weights were selected on it"

    def class_weights(self) -> Tensor:
        """Weight of each class in the loss, (K,) float32."""
        frequencies = torch.from_numpy(self._train.class_frequencies())
        return balanced_class_weights(frequencies, self._config.optimizer.class_balance)

    def frame_size_hw(self) -> tuple[int, int]:
        """Height and width of the data set's frames (pixels)."""
        height, width = self._val[0].label_map.shape
        return height, width

    def train_dataloader(self) -> DataLoader:
        config = self._config.data
        clips = TrainingClips(
            self._train,
            seed=self._config.seed,
            crop_hw=config.crop_hw,
            scale_range=config.scale_range,
            synthetic_fraction=config.synthetic_fraction,
            num_frames=self.num_frames,
        )
        round_length = self._config.schedule.validate_every * config.batch_size
        return DataLoader(
            clips,
            batch_size=config.batch_size,
            sampler=SampleStream(len(clips), round_length, self._config.seed),
            num_workers=config.workers,
            worker_init_fn=_use_one_thread,
            # A forked process inherits OpenCV's locks without its threads, and waits for them for ever.
            multiprocessing_context="forkserver" if config.workers else None,
            persistent_workers=config.workers > 0,
            prefetch_factor=4 if config.workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._val, batch_size=None)


class ValidationFrames(Dataset[LabelledFrame]):
    """Frames to validate on: the labelled ones, of a video every third, and those that are their references.

    Attributes:
        indices: of the frames in the data set, ascending.
    """

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._alone: set[int] = set()
        first: dict[str, int] = {}
        chosen: set[int] = set()
        for index in data.labelled:
            references = data.references(index, REFERENCE_OFFSETS)
            if references is None:
                self._alone.add(index)
            elif (index - first.setdefault(data.records[index].sequence, index)) % VALIDATION_STRIDE == 0:
                chosen.update(references, {index})
        self.indices = sorted(chosen | self._alone)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> LabelledFrame:
        index = self.indices[position]
        frame = self._data[index]
        # What is no video has no references: as a sequence of its own, a frame is its own reference.
        return frame._replace(sequence=self._data.records[index].name) if index in self._alone else frame


def _use_one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
