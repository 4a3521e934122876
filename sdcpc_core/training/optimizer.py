"""How weights move: who learns how fast, and when."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from sdcpc_core.models.dssa import PointSelector
from sdcpc_core.models.video_model import VideoModel
from sdcpc_core.training.config import OptimizerConfig, ScheduleConfig


def parameter_groups(model: VideoModel, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by what the optimizer does with them: its groups, each with the ``part`` it belongs to.

    The parts are the ``"encoder"``, the ``"selectors"`` of points, where the model has any, and the ``"head"``:
    everything else. Each has a learning rate of its own. Weight decay is for matrices and kernels, not for norms and
    biases.
    """
    part_of = {id(parameter): "encoder" for parameter in model.backbone.parameters()}
    for module in model.modules():
        if isinstance(module, PointSelector):
            part_of |= {id(parameter): "selectors" for parameter in module.parameters()}
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for parameter in model.parameters():
        part = part_of.get(id(parameter), "head")
        groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    of_head = config.learning_rate * config.head_multiplier
    rates = {"encoder": config.learning_rate, "head": of_head, "selectors": of_head * config.selector_multiplier}
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
