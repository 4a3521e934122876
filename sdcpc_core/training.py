"""Training: what a step does and what a run is made of; the loop is Lightning's."""

import logging
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, Timer, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from lightning_utilities.core.imports import RequirementCache
from rich import get_console
from torch import Tensor

from sdcpc_core.best_weights import BestWeights
from sdcpc_core.checkpoint import load_checkpoint
from sdcpc_core.data.camvid import LabelledFrame
from sdcpc_core.data.clips import ClipSample
from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import CAMVID
from sdcpc_core.losses import segmentation_loss
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.models import build_model
from sdcpc_core.models.sdcpc import SDCPC, StaticState
from sdcpc_core.models.video_model import FrameState, VideoModel, split_state
from sdcpc_core.training_config import ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from sdcpc_core.training_data import VALIDATION_PROTOCOL, ClipData

STATIC_LOSS_WEIGHT = 0.4
"""Of the loss on every single frame of a clip beside the loss on the aligned target."""
EXPLOSION_FACTOR = 100.0

_logger = logging.getLogger(__name__)


class SegmentationModule(L.LightningModule):
    """A video model that learns to label the last frame of a clip.

    Args:
        config: the run.
        class_weights: of the loss, (K,) float32.

    Attributes:
        model: the network.
        confusion: of the latest validation.

    Raises:
        ConfigError: an unknown model, or one that does not fit the schedule.
    """

    def __init__(self, config: TrainConfig, class_weights: Tensor) -> None:
        super().__init__()
        self.model = initial_model(config.model).to(memory_format=torch.channels_last)
        if config.schedule.static_share > 0 and not isinstance(self.model, SDCPC):
            raise ConfigError(f"{config.model.name} has no static part to train alone; set schedule.static_share to 0")
        self.register_buffer("_class_weights", class_weights, persistent=False)
        self._config = config
        self._states: deque[FrameState] = deque(maxlen=1 + len(self.model.reference_ages_s))
        self._sequence = ""
        self.confusion = ConfusionMatrix(CAMVID.num_classes, CAMVID.ignore_index)

    def on_train_batch_start(self, batch: ClipSample, batch_idx: int) -> None:
        # Whatever a model draws from the global generator is then the same in a resumed run.
        torch.manual_seed(hash((self._config.seed, self.global_step)))

    def training_step(self, batch: ClipSample, batch_idx: int) -> Tensor:
        if self._progress(self.global_step) < self._config.schedule.static_share:
            loss = self._static_loss(self.model.encode(batch.frames[:, -1]), batch.labels[:, -1])
        else:
            loss = self._clip_loss(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _clip_loss(self, clips: ClipSample) -> Tensor:
        num_frames = 1 + len(self.model.reference_ages_s)
        frames, labels = clips.frames[:, -num_frames:], clips.labels[:, -num_frames:]
        state = self.model.encode(frames.flatten(0, 1))
        *references, target = split_state(state, *frames.shape[:2])
        loss = self._loss(self.model.align(target, references[::-1]), labels[:, -1])
        if isinstance(state, StaticState):
            loss = loss + STATIC_LOSS_WEIGHT * self._static_loss(state, labels.flatten(0, 1))
        return loss

    def _static_loss(self, state: StaticState, labels: Tensor) -> Tensor:
        # The aggregation adds to S, so the same head can read S alone.
        return self._loss(self.model.head(state.static), labels)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return segmentation_loss(logits, labels, ignore_index=CAMVID.ignore_index, class_weights=self._class_weights)

    def on_validation_epoch_start(self) -> None:
        self.confusion = ConfusionMatrix(CAMVID.num_classes, CAMVID.ignore_index)
        self._sequence = ""

    def validation_step(self, frame: LabelledFrame, batch_idx: int) -> None:
        if frame.sequence != self._sequence:
            self._sequence = frame.sequence
            self._states.clear()
        self._states.append(self.model.encode(frame.image.permute(2, 0, 1)[None]))
        newest_first = [*self._states][::-1]
        # At the start of a sequence the oldest frame there is stands in for those before it.
        references = [
            newest_first[min(age, len(newest_first) - 1)] for age in range(1, 1 + len(self.model.reference_ages_s))
        ]
        logits = self.model.align(newest_first[0], references).float()
        full = F.interpolate(logits, frame.label_map.shape, mode="bilinear", align_corners=False)
        self.confusion.update(full[0].argmax(dim=0).cpu().numpy(), frame.label_map.cpu().numpy())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        config = self._config.optimizer
        optimizer = torch.optim.AdamW(_parameter_groups(self.model, config), lr=config.learning_rate, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(self._config.schedule, step, self._progress(step))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        limit = self._config.optimizer.max_gradient_norm
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), limit)
        self.log("train/gradient_norm", norm)
        if not torch.isfinite(norm):
            _logger.warning("step %d: the gradient is not finite; the step is skipped", self.global_step)
            optimizer.zero_grad()
        elif norm > EXPLOSION_FACTOR * limit:
            _logger.warning("step %d: gradient norm %.3g, %.0f times the limit", self.global_step, norm, norm / limit)

    def _progress(self, step: int) -> float:
        # Share of the steps or of the time that has passed, whichever is nearer its end.
        schedule = self._config.schedule
        share_of_time = 0.0
        timer = next((c for c in self.trainer.callbacks if isinstance(c, Timer)), None)
        if timer is not None and schedule.max_time_minutes:
            share_of_time = timer.time_elapsed() / (60 * schedule.max_time_minutes)
        return min(max(step / schedule.max_steps, share_of_time), 1.0)


def initial_model(config: ModelConfig) -> VideoModel:
    """A model with fresh weights, or with those of a checkpoint of the same model.

    Raises:
        CheckpointError: the checkpoint is missing or broken.
        ConfigError: an unknown model or option, or a checkpoint of another model.
    """
    if config.checkpoint is None:
        return build_model(config.name, CAMVID.num_classes, **config.options)
    model, header = load_checkpoint(config.checkpoint)
    if (header.model_name, dict(header.model_options), header.labels) != (config.name, config.options, CAMVID):
        raise ConfigError(
            f"{config.checkpoint} holds {header.model_name} {dict(header.model_options)} for {header.labels.name}, "
            f"but the run trains {config.name} {config.options} for {CAMVID.name}"
        )
    return model.train()


def learning_rate_factor(schedule: ScheduleConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps, then polynomial decay to zero at the end of the run (progress 1)."""
    return min((step + 1) / max(schedule.warmup_steps, 1), 1.0) * (1.0 - progress) ** schedule.power


def _parameter_groups(model: torch.nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def run_training(config: TrainConfig, *, resume: bool) -> None:
    """Train, validate and save into ``config.run_dir``: ``best.safetensors``, ``last.ckpt`` and logs.

    Raises:
        ConfigError: the run exists and is not resumed, or is resumed and does not exist.
        InputError: the data are not there or broken.
    """
    last = config.run_dir / "last.ckpt"
    if resume and not last.is_file():
        raise ConfigError(f"there is no run to resume in {config.run_dir}; leave out --resume or choose --run_dir")
    if not resume and last.is_file():
        raise ConfigError(f"{config.run_dir} holds a run; continue it with --resume or choose another --run_dir")
    # Trained weights hold many subnormal floats, which slow a CPU down many times over.
    torch.set_flush_denormal(True)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # The run's folder is made on purpose, and torch's own names are Lightning's business.
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*LeafSpec")
    L.seed_everything(config.seed, verbose=False)
    data = ClipData(config)
    module = SegmentationModule(config, data.class_weights())
    trainer = build_trainer(config, data.frame_size_hw())
    trainer.fit(module, data, ckpt_path=last if resume else None)


def build_trainer(config: TrainConfig, frame_size_hw: tuple[int, int]) -> L.Trainer:
    """The Lightning trainer of a run; one of its epochs is a round of ``validate_every`` steps."""
    schedule = config.schedule
    minutes = schedule.max_time_minutes
    interactive = get_console().is_terminal
    return L.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[config.device],
        devices=1,
        precision="bf16-mixed" if _use_bf16(config) else "32-true",
        max_epochs=schedule.max_steps // schedule.validate_every,
        max_time={"seconds": 60 * minutes} if minutes else None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, schedule.validate_every),
        logger=_loggers(config.run_dir),
        callbacks=[
            # Before the averaging, which puts the raw weights back at the end of a validation.
            BestWeights(config, frame_size_hw, VALIDATION_PROTOCOL),
            WeightAveraging(avg_fn=moving_average(config.optimizer.ema_decay)),
            ModelCheckpoint(config.run_dir, filename="last", save_top_k=1, enable_version_counter=False),
            *([RichProgressBar()] if interactive else []),
        ],
        enable_progress_bar=interactive,
        enable_model_summary=False,
        default_root_dir=config.run_dir,
    )


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average whose memory grows with the run, so that it forgets the initial weights."""

    def average(averaged: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        momentum = min(decay, (1 + int(num_averaged)) / (10 + int(num_averaged)))
        return momentum * averaged + (1 - momentum) * current

    return average


def _use_bf16(config: TrainConfig) -> bool:
    if config.precision != "auto":
        return config.precision == "bf16"
    if config.device != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()


def _loggers(run_dir: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(run_dir, name="logs")]
    if RequirementCache("tensorboard"):
        loggers.append(TensorBoardLogger(run_dir, name="tensorboard"))
    return loggers
