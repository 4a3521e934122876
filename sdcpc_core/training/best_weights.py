"""What a training run hands on: the best weights so far, as a checkpoint that explains itself."""

import json
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich import get_console

from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.report import run_facts
from sdcpc_core.training.config import TrainConfig
from sdcpc_core.training.processes import num_processes


class BestWeights(Callback):
    """Scores each validation and keeps the best weights as ``best.safetensors`` in the run's folder.

    While the alignment is trained alone, the latest are the best: what that earns is steadiness, of which mIoU knows
    nothing.

    The trained module has the ``model`` to save, its ``labels``, its ``pretraining``, whether it is ``aligning`` and,
    of its latest validation, the ``confusion``, which it can gather from all processes. The first of these prints and
    saves.

    Args:
        config: the run.
        working_size_hw: size of the data set's frames (pixels).
        data: what is trained on, for the checkpoint's provenance.
        protocol: how validation is done, for the checkpoint's provenance.
    """

    def __init__(self, config: TrainConfig, working_size_hw: tuple[int, int], data: str, protocol: str) -> None:
        self._config = config
        self._working_size_hw = working_size_hw
        self._data = data
        self._protocol = protocol
        self._best_miou = -1.0

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.gather_confusion()
        miou = pl_module.confusion.mIoU()
        pl_module.log("val/mIoU", miou, prog_bar=True, sync_dist=True)
        best = pl_module.aligning or miou > self._best_miou
        if best:
            self._best_miou = miou
        if trainer.is_global_zero:
            self._report(trainer, miou, "kept" if pl_module.aligning else "the best so far" if best else None)
            if best:
                self._save(pl_module, trainer.global_step)

    def _report(self, trainer: L.Trainer, miou: float, verdict: str | None) -> None:
        loss = float(trainer.callback_metrics.get("train/loss", float("nan")))
        get_console().print(
            f"step {trainer.global_step}/{self._config.schedule.max_steps}: loss {loss:.3f}, val mIoU {miou:.2f}"
            + (f", {verdict}" if verdict else "")
        )

    def state_dict(self) -> dict[str, Any]:
        return {"best_miou": self._best_miou}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_miou = state_dict["best_miou"]

    def _save(self, module: L.LightningModule, steps: int) -> None:
        provenance = {
            "data": self._data,
            "pretraining": module.pretraining.weights,
            "licence_note": module.pretraining.licence_note,
            "steps": steps,
            "val_mIoU": round(self._best_miou, 2),
            "val_protocol": self._protocol,
            "device": str(module.device),
            "processes": num_processes(),
            "lightning": L.__version__,
            **run_facts(asdict(self._config)),
        }
        header = CheckpointHeader(
            model_name=self._config.model.name,
            model_options=self._config.model.options,
            labels=module.labels,
            working_size_hw=self._working_size_hw,
            # Of paths the name alone: where they lay on the training machine means nothing elsewhere.
            provenance=json.loads(json.dumps(provenance, default=lambda path: path.name)),
        )
        dtype = torch.float16 if self._config.half_weights else None
        save_checkpoint(self._config.run_dir / "best.safetensors", module.model, header, dtype=dtype)
