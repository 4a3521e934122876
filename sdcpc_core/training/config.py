"""What a training run is made of; the only place where its defaults are written."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sdcpc_core.errors import ConfigError


def _require(holds: bool, key: str, value: float, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{key} is {value}; it must be {rule}")


@dataclass(frozen=True)
class ModelConfig:
    """Which network to train.

    Attributes:
        name: as in ``build_model``.
        options: further arguments of the model.
        checkpoint: weights of the same model to start from; fresh ones by default.
        backbone_weights: public weights for the encoder to start from, everything else fresh.
    """

    name: str = "sdcpc_resnet18"
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    backbone_weights: Path | None = None

    def __post_init__(self) -> None:
        if self.checkpoint and self.backbone_weights:
            raise ConfigError(
                f"model.checkpoint is {self.checkpoint} and model.backbone_weights {self.backbone_weights}; "
                "a checkpoint has an encoder of its own, so give one of the two"
            )

    def fresh(self) -> "ModelConfig":
        """The same network without the weights to start from."""
        return replace(self, checkpoint=None, backbone_weights=None)


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        kind: how the data set lies on disk.
        root: its folder.
        crop_hw: size of the training clips (pixels), multiples of 32.
        scale_range: smallest and largest random resize.
        synthetic_fraction: share of the clips that come from the synthetic drive, 0..1; it has CamVid's classes alone.
        reference_offsets: how many frames before the target its references lie, the nearer first.
        batch_size: clips per batch, in each of the processes that train together.
        workers: processes that prepare clips, for each process that trains; 0 prepares them in the latter itself.
        max_validation_frames: no more frames are scored in a validation, evenly spread; null scores all there are.
    """

    kind: Literal["camvid", "cityscapes", "vspw", "folder"] = "camvid"
    root: Path = Path("data/camvid")
    crop_hw: tuple[int, int] = (288, 384)
    scale_range: tuple[float, float] = (0.5, 2.0)
    synthetic_fraction: float = 0.25
    reference_offsets: tuple[int, int] = (3, 6)
    batch_size: int = 4
    workers: int = 1
    max_validation_frames: int | None = 500

    def __post_init__(self) -> None:
        if any(side < 32 or side % 32 for side in self.crop_hw):
            raise ConfigError(f"data.crop_hw is {list(self.crop_hw)}; both sides must be multiples of 32")
        if not 0 < self.scale_range[0] <= self.scale_range[1] < math.inf:
            raise ConfigError(f"data.scale_range is {list(self.scale_range)}; give two factors above 0, smaller first")
        _require(0 <= self.synthetic_fraction <= 1, "data.synthetic_fraction", self.synthetic_fraction, "0..1")
        if not 1 <= self.reference_offsets[0] < self.reference_offsets[1]:
            raise ConfigError(
                f"data.reference_offsets is {list(self.reference_offsets)}; give two numbers of frames, at "
                "least 1, the smaller first"
            )
        _require(self.batch_size >= 1, "data.batch_size", self.batch_size, "at least 1")
        if self.batch_size * math.prod(self.crop_hw) <= 32 * 32:
            raise ConfigError(
                f"data.batch_size is {self.batch_size} and data.crop_hw {list(self.crop_hw)}: one value per channel at "
                "stride 32, of which a batch norm makes nothing; enlarge either"
            )
        _require(self.workers >= 0, "data.workers", self.workers, "at least 0")
        limit = self.max_validation_frames
        if limit is not None:
            _require(limit >= 1, "data.max_validation_frames", limit, "at least 1, or null for all")


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: L_CE + lambda1 L_CR + lambda2 L_MF of the aligned target, Eq. (7).

    A per-frame model without prototypes has the cross-entropy alone.

    Attributes:
        contrast_weight: lambda1; 0, together with ``redundancy_weight``, trains without MCP-CL.
        redundancy_weight: lambda2.
        temperature: tau of the contrast, on cosines.
        static_weight: of the cross-entropy on every single frame of a clip beside the loss on the aligned target.
        damaged_share: of the clips whose target loses parts of its features, 0..1, so that references are needed.
        target_noise: largest deviation of noise on the features of a target, in deviations of these features, while
            the alignment is trained alone.
        reference_noise: the same on those of its references. Where it is less, there is more to learn from them.
    """

    contrast_weight: float = 0.1
    redundancy_weight: float = 0.1
    temperature: float = 0.1
    static_weight: float = 0.4
    damaged_share: float = 0.5
    target_noise: float = 2.5
    reference_noise: float = 1.5

    def __post_init__(self) -> None:
        for key in ("contrast_weight", "redundancy_weight", "static_weight", "target_noise", "reference_noise"):
            _require(0 <= getattr(self, key) < math.inf, f"loss.{key}", getattr(self, key), "at least 0")
        _require(0 <= self.damaged_share <= 1, "loss.damaged_share", self.damaged_share, "0..1")
        _require(0 < self.temperature < math.inf, "loss.temperature", self.temperature, "above 0")


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        learning_rate: after warm-up, of the encoder.
        head_multiplier: learning rate of everything but the encoder, over that of the encoder.
        selector_multiplier: learning rate of the selectors of the alignment's points, over that of the rest of the
            head. A selector sums up 1,700 channels, so that one step of Adam moves its points by tokens; those that
            have left the map see nothing, and never come back.
        weight_decay: of matrices and kernels; norms and biases have none.
        max_gradient_norm: gradients are scaled down to this norm.
        class_balance: power of median-frequency class weights; 0 weighs all pixels alike.
        ema_decay: of the moving average of the weights, which is what is validated and saved; 0 averages nothing.
    """

    learning_rate: float = 1e-3
    head_multiplier: float = 1.0
    selector_multiplier: float = 1.0
    weight_decay: float = 0.01
    max_gradient_norm: float = 5.0
    class_balance: float = 0.5
    ema_decay: float = 0.995

    def __post_init__(self) -> None:
        _require(0 < self.learning_rate < math.inf, "optimizer.learning_rate", self.learning_rate, "above 0")
        _require(0 < self.head_multiplier < math.inf, "optimizer.head_multiplier", self.head_multiplier, "above 0")
        multiplier = self.selector_multiplier
        _require(0 <= multiplier < math.inf, "optimizer.selector_multiplier", multiplier, "at least 0")
        _require(0 <= self.weight_decay < math.inf, "optimizer.weight_decay", self.weight_decay, "at least 0")
        limit = self.max_gradient_norm
        _require(0 < limit < math.inf, "optimizer.max_gradient_norm", limit, "above 0")
        _require(0 <= self.class_balance < math.inf, "optimizer.class_balance", self.class_balance, "at least 0")
        _require(0 <= self.ema_decay < 1, "optimizer.ema_decay", self.ema_decay, "at least 0 and below 1")


@dataclass(frozen=True)
class ScheduleConfig:
    """How long to train.

    Attributes:
        max_steps: optimizer steps; a multiple of ``validate_every``.
        accumulate_batches: batches whose gradients are averaged for one optimizer step.
        validate_every: optimizer steps between validations, each of which ends in a resumable checkpoint.
        max_time_minutes: stop after this long; the learning rate falls with whichever of the two limits is nearer.
        static_share: of the run, 0..1: its first part trains on single frames and leaves the references out. It sees
            several times the pictures in the same time, and a network without pretraining needs those first.
        alignment_share: of the run, 0..1: its last part trains the alignment alone. From features that are disturbed it
            learns to say what the rest of the network, which stays as it is, says of the undisturbed target.
        warmup_steps: optimizer steps of linear warm-up.
        power: of the polynomial decay.
    """

    max_steps: int = 2000
    accumulate_batches: int = 1
    validate_every: int = 200
    max_time_minutes: float | None = None
    static_share: float = 0.0
    alignment_share: float = 0.0
    warmup_steps: int = 100
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.validate_every < 1 or self.max_steps < 1 or self.max_steps % self.validate_every:
            raise ConfigError(
                f"schedule.max_steps {self.max_steps} must be a multiple of schedule.validate_every "
                f"{self.validate_every}, both at least 1"
            )
        batches = self.accumulate_batches
        _require(batches >= 1, "schedule.accumulate_batches", batches, "at least 1")
        minutes = self.max_time_minutes
        if minutes is not None:
            _require(0 < minutes < math.inf, "schedule.max_time_minutes", minutes, "above 0, or null")
        _require(0 <= self.static_share <= 1, "schedule.static_share", self.static_share, "0..1")
        left = 1 - self.static_share
        _require(0 <= self.alignment_share <= left, "schedule.alignment_share", self.alignment_share, f"0..{left:g}")
        _require(self.warmup_steps >= 0, "schedule.warmup_steps", self.warmup_steps, "at least 0")
        _require(0 <= self.power < math.inf, "schedule.power", self.power, "at least 0")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        run_dir: where checkpoints and logs go.
        seed: of every random draw, 0..2**32 - 1.
        device: what to train on; ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bfloat16 where the device is fast at it; ``fp16`` is for CUDA alone.
        devices: processes that train together on each machine, one GPU each. ``torchrun`` says itself how many there
            are, and on how many machines.
        num_nodes: machines that train together.
        half_weights: store the exported weights as float16.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run_dir: Path = Path("runs/camvid")
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    half_weights: bool = True

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0..4294967295")
        _require(self.devices >= 1, "devices", self.devices, "at least 1")
        _require(self.num_nodes >= 1, "num_nodes", self.num_nodes, "at least 1")


def parse_config(argv: Sequence[str]) -> tuple[TrainConfig, bool]:
    """Read ``--config FILE``, ``--key.sub value`` and ``--resume``.

    Returns:
        The run and whether to resume it.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or out of range, an unreadable file.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(prog="sdcpc train", description="Train a model.", exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with the keys below")
    parser.add_argument("--resume", action="store_true", help="continue the run in run_dir")
    parser.add_class_arguments(TrainConfig)
    try:
        namespace = parser.parse_args(list(argv))
        resume = namespace.pop("resume")
        del namespace["config"]
        return TrainConfig(**parser.instantiate(namespace)), resume
    except UnicodeDecodeError as err:
        raise ConfigError(f"--config names a file that is not text ({err.reason}); it must be YAML") from err
    except (ArgumentError, OSError) as err:
        # What is no mapping of keys is quoted whole.
        raise ConfigError(textwrap.shorten(str(err), 500)) from err
