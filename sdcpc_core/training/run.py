"""A run of training: its folder, its checkpoints and Lightning's trainer."""

import logging
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning_utilities.core.imports import RequirementCache
from rich import get_console

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.output import check_output
from sdcpc_core.streaming import find_device
from sdcpc_core.training.best_weights import BestWeights
from sdcpc_core.training.clip_data import ClipData
from sdcpc_core.training.config import TrainConfig
from sdcpc_core.training.last_checkpoint import WholeCheckpoints, check_resumable
from sdcpc_core.training.launch import OwnTermination, check_devices, one_voice, place
from sdcpc_core.training.module import SegmentationModule
from sdcpc_core.training.optimizer import moving_average


def run_training(config: TrainConfig, *, resume: bool) -> None:
    """Train, validate and save into ``config.run_dir``: ``best.safetensors``, ``last.ckpt`` and logs.

    A resumed run has its weights from ``last.ckpt`` alone, whatever files it once started from, and so it has
    ``optimizer.learning_rate``, ``optimizer.head_multiplier`` and ``optimizer.weight_decay``. Model and
    ``schedule.validate_every`` must be those of the run; all other settings are taken as they are given, because to
    train on for longer or with other losses is a choice.

    The process trains alone, or together with the others that ``torchrun`` started beside it.

    Raises:
        ConfigError: the run exists and is not resumed, or is resumed and does not exist or has another model or
            length of rounds, or cannot be trained on this machine.
        CheckpointError: the run to resume is broken.
        InputError: the data are not there or broken.
        OutputError: the run's folder cannot be written.
    """
    with one_voice():
        check_start(config, resume=resume)
        # Trained weights hold many subnormal floats, which slow a CPU down many times over.
        torch.set_flush_denormal(True)
        for library in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(library).setLevel(logging.WARNING)
        # The run's folder is made on purpose and may move, and torch's own names are Lightning's business.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", "The dirpath has changed")
        warnings.filterwarnings("ignore", ".*LeafSpec")
        warnings.filterwarnings("ignore", ".*broadcast_buffers")
        if place().rank > 0:
            # What all processes would say, the first one says.
            logging.getLogger("sdcpc_core").setLevel(logging.ERROR)
            warnings.simplefilter("ignore")
        L.seed_everything(config.seed, verbose=False)
        data = ClipData(config)
        start = replace(config, model=config.model.fresh()) if resume else config
        module = SegmentationModule(start, data.class_weights(), data.labels)
        data.clip_length = module.begin_round
        last = _last(config)
        if resume:
            check_resumable(last, module)
        elif place().rank == 0:
            get_console().print(
                "initial weights: " + "; ".join(filter(None, module.pretraining)), soft_wrap=True, markup=False
            )
        _fit(build_trainer(config, data), module, data, last if resume else None)


def check_start(config: TrainConfig, *, resume: bool) -> None:
    """Refuse at once what cannot become a run.

    Raises:
        ConfigError: the run exists and is not resumed, or is resumed and does not exist; or the device is not there,
            or not for this precision.
        OutputError: the run's folder cannot be written.
    """
    last = _last(config)
    if resume and not last.is_file():
        raise ConfigError(f"there is no run to resume in {config.run_dir}; leave out --resume or choose --run_dir")
    if not resume and last.is_file():
        raise ConfigError(f"{config.run_dir} holds a run; continue it with --resume or choose another --run_dir")
    check_output(last, overwrite=True)
    device = find_device(config.device)
    check_devices(config, device)
    trainer_precision(config.precision, device)


def _last(config: TrainConfig) -> Path:
    return config.run_dir / "last.ckpt"


def _fit(trainer: L.Trainer, module: SegmentationModule, data: ClipData, last: Path | None) -> None:
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, data, ckpt_path=last)
    except InputError as err:
        # A process that prepares clips hands its errors on with a traceback in front of the message.
        raise InputError(str(err).rpartition(f"{type(err).__name__}: ")[2].strip()) from err
    except SystemExit as err:
        if not isinstance(err.__context__, KeyboardInterrupt):
            raise
        # Lightning ignores Ctrl-C from the first one on, and ends with a status of its own.
        signal.signal(signal.SIGINT, on_interrupt)
        if trainer.is_global_zero:
            saved = _last(module.config)
            way_on = f"with --resume continues from {saved}" if saved.is_file() else "starts anew"
            print(f"interrupted; the same command {way_on}", file=sys.stderr)
        raise KeyboardInterrupt from err


def build_trainer(config: TrainConfig, data: ClipData) -> L.Trainer:
    """The Lightning trainer of a run; one of its epochs is a round of ``validate_every`` steps."""
    schedule = config.schedule
    minutes = schedule.max_time_minutes
    device = find_device(config.device)
    interactive = get_console().is_terminal
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        **_distribution(config, device),
        precision=trainer_precision(config.precision, device),
        accumulate_grad_batches=schedule.accumulate_batches,
        max_epochs=schedule.max_steps // schedule.validate_every,
        max_time={"seconds": 60 * minutes} if minutes else None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, schedule.validate_every),
        logger=_loggers(config.run_dir),
        callbacks=[
            # Before the averaging, which puts the raw weights back at the end of a validation.
            BestWeights(config, data.frame_size_hw(), data.provenance, data.validation_protocol),
            WeightAveraging(avg_fn=moving_average(config.optimizer.ema_decay)),
            OwnTermination(),
            ModelCheckpoint(config.run_dir, filename="last", save_top_k=1, enable_version_counter=False),
            *([RichProgressBar()] if interactive else []),
        ],
        enable_progress_bar=interactive,
        enable_model_summary=False,
        default_root_dir=config.run_dir,
    )


def trainer_precision(precision: str, device: torch.device) -> str:
    """Lightning's name of a run's precision on a device.

    Raises:
        ConfigError: fp16 without CUDA.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.cpu._is_amx_tile_supported()
        precision = "bf16" if fast else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError("precision is fp16, which trains on CUDA alone; choose bf16, fp32 or auto on a CPU")
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[precision]


def _distribution(config: TrainConfig, device: torch.device) -> dict[str, Any]:
    _, num_processes, num_local = place()
    if num_processes == 1:
        return {"devices": 1, "plugins": [WholeCheckpoints()]}
    return {
        "devices": num_local,
        "num_nodes": num_processes // num_local,
        "plugins": [WholeCheckpoints(), TorchElasticEnvironment()],
        "strategy": DDPStrategy(
            # While the static part or the alignment is trained alone, the rest has no gradients.
            find_unused_parameters=config.schedule.static_share + config.schedule.alignment_share > 0,
            # Shares of a validation differ in length, so that a process would wait for ever for the others' buffers. On
            # CUDA they have the same anyway; on CPUs each has its own batch statistics, and the first one's are saved.
            broadcast_buffers=False,
        ),
        "sync_batchnorm": device.type == "cuda",
        # The stream of samples is cut for the processes already.
        "use_distributed_sampler": False,
    }


def _loggers(run_dir: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(run_dir, name="logs")]
    if RequirementCache("tensorboard"):
        loggers.append(TensorBoardLogger(run_dir, name="tensorboard"))
    return loggers
