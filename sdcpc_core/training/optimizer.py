"""How weights move: who learns how fast, and when."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from sdcpc_core.models.video_model import VideoModel
from sdcpc_core.training.config import OptimizerConfig, ScheduleConfig


def parameter_groups(model: VideoModel, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by what the optimizer does with them: its groups, each with the ``part`` it belongs to.

    The parts are the ``"encoder"`` and, with a learning rate of its own, the ``"head"``: everything else. Weight decay
    is for matrices and kernels, not for norms and biases.
    """
    of_encoder = {id(parameter) for parameter in model.backbone.parameters()}
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for parameter in model.parameters():
        part = "encoder" if id(parameter) in of_encoder else "head"
        groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    rates = {"encoder": config.learning_rate, "head": config.learning_rate * config.head_multiplier}
    return [
        {
            "part": part,
            "params": parameters,
            "lr": rates[part],
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]


def learning_rate_factor(schedule: ScheduleConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps, then polynomial decay to zero at the end of the run (progress 1)."""
    return min((step + 1) / max(schedule.warmup_steps, 1), 1.0) * (1.0 - progress) ** schedule.power


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average whose memory grows with the run, so that it forgets the initial weights."""

    def average(averaged: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        momentum = min(decay, (1 + int(num_averaged)) / (10 + int(num_averaged)))
        return momentum * averaged + (1 - momentum) * current

    return average
