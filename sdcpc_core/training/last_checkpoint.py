"""What a training run is resumed from: ``last.ckpt``, written whole and checked before it is read."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from sdcpc_core.errors import CheckpointError, ConfigError
from sdcpc_core.output import atomic_output, output_errors
from sdcpc_core.training.module import SegmentationModule


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, where Lightning's own way leaves half a file on a full disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        # In memory first: what torch raises on a full disk does not say so.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with output_errors(path), atomic_output(path, overwrite=True) as draft:
            draft.write_bytes(content.getbuffer())


def check_resumable(last: Path, module: SegmentationModule) -> None:
    """Refuse a checkpoint that Lightning would fail on, or continue as another run.

    Raises:
        CheckpointError: the file is broken, or not one of a training run.
        ConfigError: it is of another model, or of rounds of another length.
    """
    try:
        saved = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
        groups = saved["optimizer_states"][0]["param_groups"]
        # Before a head had a learning rate of its own, groups belonged to no part.
        missing = {"loops", "callbacks", "lr_schedulers", "pretraining"} - saved.keys() or "part" not in groups[0]
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
            f"{last} is of another run{': ' if differing else ''}{'; '.join(differing)}; resume it with its "
            "model.name, model.options, data and schedule.validate_every, or start a run in another --run_dir"
        )
