"""A run of training: its folder, its checkpoints and Lightning's trainer."""

import logging
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning_utilities.core.imports import RequirementCache
from rich import get_console
from torch import Tensor

from sdcpc_core.best_weights import BestWeights
from sdcpc_core.errors import CheckpointError, ConfigError
from sdcpc_core.output import check_output
from sdcpc_core.streaming import find_device
from sdcpc_core.training import SegmentationModule
from sdcpc_core.training_config import TrainConfig
from sdcpc_core.training_data import ClipData


def run_training(config: TrainConfig, *, resume: bool) -> None:
    """Train, validate and save into ``config.run_dir``: ``best.safetensors``, ``last.ckpt`` and logs.

    A resumed run has its weights from ``last.ckpt`` alone, whatever files it once started from, and so it has
    ``optimizer.learning_rate`` and ``optimizer.weight_decay``. The model must be the one of the run; all other settings
    are taken as they are given, because to train on for longer or with other losses is a choice.

    Raises:
        ConfigError: the run exists and is not resumed, or is resumed and does not exist or is of another model.
        CheckpointError: the run to resume is broken.
        InputError: the data are not there or broken.
        OutputError: the run's folder cannot be written.
    """
    last = config.run_dir / "last.ckpt"
    if resume and not last.is_file():
        raise ConfigError(f"there is no run to resume in {config.run_dir}; leave out --resume or choose --run_dir")
    if not resume and last.is_file():
        raise ConfigError(f"{config.run_dir} holds a run; continue it with --resume or choose another --run_dir")
    check_output(last, overwrite=True)
    find_device(config.device)
    # Trained weights hold many subnormal floats, which slow a CPU down many times over.
    torch.set_flush_denormal(True)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # The run's folder is made on purpose, and torch's own names are Lightning's business.
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*LeafSpec")
    L.seed_everything(config.seed, verbose=False)
    data = ClipData(config)
    start = replace(config, model=config.model.fresh()) if resume else config
    module = SegmentationModule(start, data.class_weights(), data.labels)
    data.num_frames = module.num_frames
    if resume:
        check_resumable(last, module)
    else:
        get_console().print(
            "initial weights: " + "; ".join(filter(None, module.pretraining)), soft_wrap=True, markup=False
        )
    trainer = build_trainer(config, data)
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, data, ckpt_path=last if resume else None)
    except SystemExit as err:
        if not isinstance(err.__context__, KeyboardInterrupt):
            raise
        # Lightning ignores Ctrl-C from the first one on, and ends with a status of its own.
        signal.signal(signal.SIGINT, on_interrupt)
        way_on = f"with --resume continues from {last}" if last.is_file() else "starts anew"
        print(f"interrupted; the same command {way_on}", file=sys.stderr)
        raise KeyboardInterrupt from err


def check_resumable(last: Path, module: SegmentationModule) -> None:
    """Refuse a checkpoint that Lightning would fail on, or continue as another model.

    Raises:
        CheckpointError: the file is broken, or not one of a training run.
        ConfigError: it is of another model.
    """
    try:
        saved = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
        missing = {"loops", "callbacks", "optimizer_states", "lr_schedulers", "pretraining"} - saved.keys()
        shapes = {name: tensor.shape for name, tensor in saved["state_dict"].items()}
        model = dict(saved["model"])
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, pickle.PickleError):
        missing = True
    if missing:
        raise CheckpointError(
            f"{last} is broken, or not of a training run of this version; start a run in another --run_dir, from the "
            "best weights so far with --model.checkpoint"
        )
    # Most options change no shape, so that the weights of one model would load into the other.
    own = module.identity
    differing = [f"{key} {model[key]!r}, not {own[key]!r}" for key in own if key in model and model[key] != own[key]]
    if differing or shapes != {name: tensor.shape for name, tensor in module.state_dict().items()}:
        raise ConfigError(
            f"{last} is of another model{': ' if differing else ''}{'; '.join(differing)}; resume it with the "
            "model.name, model.options and data of its run, or start a run in another --run_dir"
        )


def build_trainer(config: TrainConfig, data: ClipData) -> L.Trainer:
    """The Lightning trainer of a run; one of its epochs is a round of ``validate_every`` steps."""
    schedule = config.schedule
    minutes = schedule.max_time_minutes
    device = find_device(config.device)
    interactive = get_console().is_terminal
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if _use_bf16(config.precision, device) else "32-true",
        max_epochs=schedule.max_steps // schedule.validate_every,
        max_time={"seconds": 60 * minutes} if minutes else None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, schedule.validate_every),
        logger=_loggers(config.run_dir),
        callbacks=[
            # Before the averaging, which puts the raw weights back at the end of a validation.
            BestWeights(config, data.frame_size_hw(), data.provenance, data.validation_protocol),
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


def _use_bf16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()


def _loggers(run_dir: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(run_dir, name="logs")]
    if RequirementCache("tensorboard"):
        loggers.append(TensorBoardLogger(run_dir, name="tensorboard"))
    return loggers
