"""What a run trains and validates on."""

import cv2
import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from sdcpc_core.data.camvid import CamVid
from sdcpc_core.data.clips import MAX_FRAMES, REFERENCE_OFFSETS, SampleStream, TrainingClips
from sdcpc_core.losses import balanced_class_weights
from sdcpc_core.training_config import TrainConfig

VALIDATION_STRIDE = REFERENCE_OFFSETS[0]
"""Every third frame is validated: its references are among those frames, so a third of the work suffices."""
VALIDATION_PROTOCOL = f"CamVid val, every {VALIDATION_STRIDE}rd frame; the weights were selected on it"


class ClipData(L.LightningDataModule):
    """CamVid's training clips and validation run.

    Attributes:
        num_frames: of a training clip; set it to what the model takes.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self._config = config
        self.num_frames = MAX_FRAMES
        self._train = CamVid(config.data.root, "train")
        self._val = CamVid(config.data.root, "val")
        self._val.check_frames()

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
        return DataLoader(Subset(self._val, range(0, len(self._val), VALIDATION_STRIDE)), batch_size=None)


def _use_one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
