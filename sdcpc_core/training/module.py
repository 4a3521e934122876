"""What training does in a step; the loop is Lightning's."""

import logging
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from sdcpc_core.checkpoint import load_checkpoint
from sdcpc_core.data.clips import ClipSample
from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import LabelSet
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.models import build_model
from sdcpc_core.models.sdcpc import SDCPC, StaticState
from sdcpc_core.models.video_model import FrameState, VideoModel, split_state
from sdcpc_core.ops.upsample_argmax import upsample_argmax
from sdcpc_core.pretrained.encoder import load_backbone_weights
from sdcpc_core.training.clip_data import ValidationFrame
from sdcpc_core.training.config import ModelConfig, TrainConfig
from sdcpc_core.training.feature_damage import damaged, noisy
from sdcpc_core.training.losses import restoration_loss, segmentation_loss
from sdcpc_core.training.optimizer import learning_rate_factor, parameter_groups
from sdcpc_core.training.processes import sum_over_processes
from sdcpc_core.training.prototype_losses import prototype_losses

EXPLOSION_FACTOR = 100.0

_logger = logging.getLogger(__name__)


class Pretraining(NamedTuple):
    """What the first weights of a run were.

    Attributes:
        weights: name of the file they come from, with its kind where it holds an encoder alone; or ``"none"``.
        licence_note: what weights that descend from them may be used for, where that is limited.
    """

    weights: str = "none"
    licence_note: str | None = None


class SegmentationModule(L.LightningModule):
    """A video model that learns to label the last frame of a clip.

    Args:
        config: the run.
        class_weights: of the loss, (K,) float32.
        labels: classes of the data set.

    Attributes:
        config: the run.
        model: the network.
        labels: its classes.
        num_frames: of a clip it trains on.
        aligning: whether the present round trains the alignment alone.
        pretraining: of the weights it starts from.
        confusion: of the latest validation, in this process's share of it until ``gather_confusion``.
        identity: name, classes and complete options of the model, and the steps of a round; a resumed run must have the
            same.

    Raises:
        ConfigError: an unknown model, or one that does not fit the schedule.
    """

    def __init__(self, config: TrainConfig, class_weights: Tensor, labels: LabelSet) -> None:
        super().__init__()
        self.labels = labels
        model, self.pretraining = initial_model(config.model, labels)
        self.model = model.to(memory_format=torch.channels_last)
        if config.schedule.static_share > 0 and not isinstance(self.model, SDCPC):
            raise ConfigError(f"{config.model.name} has no static part to train alone; set schedule.static_share to 0")
        if config.schedule.alignment_share > 0 and not self.model.reference_ages_s:
            raise ConfigError(f"{config.model.name} has no alignment to train alone; set schedule.alignment_share to 0")
        self.register_buffer("_class_weights", class_weights, persistent=False)
        self.config = config
        self.num_frames = 1 + len(self.model.reference_ages_s)
        self._static = self.aligning = False
        self._share_of_time = 0.0
        self._states: dict[int, FrameState] = {}
        self.confusion = ConfusionMatrix(self.labels.num_classes, self.labels.ignore_index)

    @property
    def identity(self) -> dict[str, Any]:
        options = {f"model.options.{option}": value for option, value in self.model.options.items()}
        return {
            "model.name": self.config.model.name,
            # As many other classes have the same shapes.
            "classes": list(self.labels.names),
            **options,
            # Rounds are what a run counts: of its samples, and to its end.
            "schedule.validate_every": self.config.schedule.validate_every,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model"] = self.identity
        checkpoint["pretraining"] = self.pretraining._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.pretraining = Pretraining(**checkpoint["pretraining"])

    def begin_round(self) -> int:
        """Choose what the coming round trains: the static part, all, or the alignment. Every process must call this.

        Returns:
            How many frames its clips have.
        """
        self._read_clock()
        schedule = self.config.schedule
        progress = self._progress(self.global_step)
        self._static = schedule.static_share == 1 or progress < schedule.static_share
        self.aligning = not self._static and 1 - progress <= schedule.alignment_share > 0
        for part in self._static_parts() if schedule.alignment_share else ():
            part.requires_grad_(not self.aligning)
        return 1 if self._static else self.num_frames

    def _static_parts(self) -> tuple[nn.Module, ...]:
        return self.model.backbone, self.model.ssea, self.model.head

    def on_train_batch_start(self, batch: ClipSample, batch_idx: int) -> None:
        self._read_clock()
        # Whatever a model draws from the global generator is then the same in a resumed run, and another in each batch.
        torch.manual_seed(hash((self.config.seed, self.global_rank, self.current_epoch, batch_idx)))
        if self.aligning:
            for part in self._static_parts():
                part.eval()  # running means of batch norms would go on moving

    def training_step(self, batch: ClipSample, batch_idx: int) -> Tensor:
        if self._static:
            loss = self._static_loss(self.model.encode(batch.frames[:, -1]), batch.labels[:, -1])
        elif self.aligning:
            loss = self._restoration_loss(batch.frames)
        else:
            loss = self._clip_loss(batch)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def _clip_loss(self, clips: ClipSample) -> Tensor:
        frames, labels = clips
        state = self.model.encode(frames.flatten(0, 1))
        *references, target = split_state(state, *frames.shape[:2])
        if not isinstance(self.model, SDCPC):
            return self._cross_entropy(self.model.align(target, references[::-1]), labels[:, -1])
        if not references:
            return self._class_loss(target.static, labels[:, -1])
        damaged_target = StaticState(damaged(target.static, self.config.loss.damaged_share))
        aligned = self.model.aggregate(damaged_target, self.model.align_references(references[::-1]))
        loss = self._class_loss(aligned, labels[:, -1])
        return loss + self.config.loss.static_weight * self._static_loss(state, labels.flatten(0, 1))

    def _restoration_loss(self, frames: Tensor) -> Tensor:
        # Labels would teach more about training pictures, which the frozen part knows by heart, than about references.
        config = self.config.loss
        *references, target = split_state(self.model.encode(frames.flatten(0, 1)), *frames.shape[:2])
        noisy_target = noisy(damaged(target.static, config.damaged_share), config.target_noise)
        noisy_references = [StaticState(noisy(reference.static, config.reference_noise)) for reference in references]
        logits = self.model.align(StaticState(noisy_target), noisy_references[::-1])
        return restoration_loss(logits, self.model.head(target.static), class_weights=self._class_weights)

    def _class_loss(self, aligned: Tensor, labels: Tensor) -> Tensor:
        # L of Eq. (7); the paper gives neither weights nor temperature.
        head, config = self.model.head, self.config.loss
        variates = head.variates(aligned)
        logits = head.logits(variates)
        cross_entropy = self._cross_entropy(logits, labels)
        contrast, redundancy = prototype_losses(
            variates,
            logits,
            labels,
            num_variates=head.num_variates,
            ignore_index=self.labels.ignore_index,
            temperature=config.temperature,
        )
        terms = {"train/cross_entropy": cross_entropy, "train/contrast": contrast, "train/redundancy": redundancy}
        self.log_dict(terms, sync_dist=True)
        return cross_entropy + config.contrast_weight * contrast + config.redundancy_weight * redundancy

    def _static_loss(self, state: StaticState, labels: Tensor) -> Tensor:
        # The aggregation adds to S, so the same head can read S alone. Prototypes are of D_fine, which S is not.
        return self._cross_entropy(self.model.head(state.static), labels)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return segmentation_loss(
            logits, labels, ignore_index=self.labels.ignore_index, class_weights=self._class_weights
        )

    def on_validation_epoch_start(self) -> None:
        self.confusion = ConfusionMatrix(self.labels.num_classes, self.labels.ignore_index)
        self._states.clear()

    def validation_step(self, batch: ValidationFrame, batch_idx: int) -> None:
        frame, index, references = batch
        if references is None and self.num_frames == 1:
            return
        oldest = index - self.config.data.reference_offsets[-1]
        self._states = {known: state for known, state in self._states.items() if known >= oldest}
        self._states[index] = self.model.encode(frame.image.permute(2, 0, 1)[None])
        if references is None:
            return
        states = [self._states[reference] for reference in references[: self.num_frames - 1]]
        logits = self.model.align(self._states[index], states)
        label_map = upsample_argmax(logits, frame.label_map.shape).label_map[0]
        self.confusion.update(label_map.cpu().numpy(), frame.label_map.cpu().numpy())

    def gather_confusion(self) -> None:
        """Sum the confusion over the processes' shares. Every process must call this, once after a validation."""
        share = torch.from_numpy(self.confusion.counts).to(self.device)
        self.confusion.counts = sum_over_processes(share).cpu().numpy()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = parameter_groups(self.model, self.config.optimizer)
        # The fused kernel would take gradients that are still scaled, of which a norm says nothing.
        optimizer = torch.optim.AdamW(groups, fused=self.trainer.precision != "16-mixed")
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(self.config.schedule, step, self._progress(step))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        limit = self.config.optimizer.max_gradient_norm
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), limit)
        self.log("train/gradient_norm", norm)
        self.log_dict({f"train/learning_rate_{group['part']}": group["lr"] for group in optimizer.param_groups})
        if not torch.isfinite(norm):
            _logger.warning("step %d: the gradient is not finite; the step is skipped", self.global_step)
            optimizer.zero_grad()
        elif norm > EXPLOSION_FACTOR * limit:
            _logger.warning("step %d: gradient norm %.3g, %.0f times the limit", self.global_step, norm, norm / limit)

    def _read_clock(self) -> None:
        minutes = self.config.schedule.max_time_minutes
        if minutes is not None:
            timer = next(callback for callback in self.trainer.callbacks if isinstance(callback, Timer))
            # That of the first process, so that all change rate and phase together.
            self._share_of_time = self.trainer.strategy.broadcast(timer.time_elapsed() / (60 * minutes))

    def _progress(self, step: int) -> float:
        # Share of the steps or of the time that has passed, whichever is nearer its end.
        return min(max(step / self.config.schedule.max_steps, self._share_of_time), 1.0)


def initial_model(config: ModelConfig, labels: LabelSet) -> tuple[VideoModel, Pretraining]:
    """A model with fresh weights, with a pretrained encoder, or with the weights of a checkpoint of the same model.

    Args:
        config: which model.
        labels: the classes it tells apart.

    Raises:
        CheckpointError: a file of weights is missing, broken or of another encoder.
        ConfigError: an unknown model or option, or a checkpoint of another model.
    """
    fresh = build_model(config.name, labels.num_classes, **config.options)
    if config.backbone_weights is not None:
        loaded = load_backbone_weights(fresh.backbone, config.backbone_weights)
        return fresh, Pretraining(f"{config.backbone_weights.absolute().name} ({loaded.source})", loaded.licence_note)
    if config.checkpoint is None:
        return fresh, Pretraining()
    model, header = load_checkpoint(config.checkpoint)
    if (header.model_name, model.options, header.labels) != (config.name, fresh.options, labels):
        raise ConfigError(
            f"{config.checkpoint} holds {header.model_name} {model.options} for {header.labels.name}, "
            f"but the run trains {config.name} {fresh.options} for {labels.name}"
        )
    return model.train(), Pretraining(config.checkpoint.name, header.provenance.get("licence_note"))
