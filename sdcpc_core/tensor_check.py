"""Whether the tensors of a file are exactly those of a model: a partial match trains and predicts, and badly."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sdcpc_core.errors import CheckpointError

FLOAT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], complaint: str) -> None:
    """Refuse tensors that differ from those wanted in name, shape or kind of type, or hold values not finite.

    Args:
        found: from a file; any floating-point type of at least 16 bits stands for any other.
        wanted: a model's state dict, which may lie on the meta device.
        complaint: how the message begins, e.g. ``"a.safetensors does not fit its model"``.

    Raises:
        CheckpointError: the differences, each kind with its number and the first names.
    """
    problems = []
    if missing := sorted(wanted.keys() - found.keys()):
        problems.append(f"{len(missing)} tensors are missing ({_some(missing)})")
    if unexpected := sorted(found.keys() - wanted.keys()):
        problems.append(f"{len(unexpected)} tensors are unexpected ({_some(unexpected)})")
    shared = sorted(wanted.keys() & found.keys())
    misshapen = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in shared
        if found[name].shape != wanted[name].shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} tensors have another shape ({_some(misshapen)})")
    mistyped = [f"{name} is {found[name].dtype}" for name in shared if not _fits(found[name].dtype, wanted[name].dtype)]
    if mistyped:
        problems.append(f"{len(mistyped)} tensors have another type ({_some(mistyped)})")
    elif infinite := [name for name in shared if not found[name].isfinite().all()]:
        problems.append(f"{len(infinite)} tensors hold values that are not finite ({_some(infinite)})")
    if problems:
        raise CheckpointError(f"{complaint}: {'; '.join(problems)}")


def _fits(found: torch.dtype, wanted: torch.dtype) -> bool:
    return found in FLOAT_TYPES if wanted.is_floating_point else found == wanted


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", …" if len(items) > 3 else "")
