"""Whether the tensors of a file are exactly those of a model: a partial match trains and predicts, and badly."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdcpc_core.errors import CheckpointError

FLOAT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MOST_LISTED = 20


def check_tensors(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    complaint: str,
    names: Mapping[str, str] | None = None,
) -> None:
    """Refuse tensors that differ from those wanted in name, shape or kind of type, or hold values not finite.

    Args:
        found: from a file; any floating-point type of at least 16 bits stands for any other.
        wanted: a model's state dict, which may lie on the meta device.
        complaint: how the message begins, e.g. ``"a.safetensors does not fit its model"``.
        names: what the file calls the tensors found, where that differs; for the message.

    Raises:
        CheckpointError: the differences, each kind with its number and the names.
    """
    called = {name: printable((names or {}).get(name, name)) for name in found}
    problems = []
    if missing := sorted(wanted.keys() - found.keys()):
        problems.append(f"{len(missing)} tensors are missing ({listed(missing)})")
    if unexpected := sorted(called[name] for name in found.keys() - wanted.keys()):
        problems.append(f"{len(unexpected)} tensors are unexpected ({listed(unexpected)})")
    shared = sorted(wanted.keys() & found.keys())
    misshapen = [
        f"{called[name]} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in shared
        if found[name].shape != wanted[name].shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} tensors have another shape ({listed(misshapen)})")
    mistyped = [
        f"{called[name]} is {found[name].dtype}" for name in shared if not _fits(found[name].dtype, wanted[name].dtype)
    ]
    if mistyped:
        problems.append(f"{len(mistyped)} tensors have another type ({listed(mistyped)})")
    # Values are looked at only of what has the size of a model.
    if not problems and (infinite := [called[name] for name in shared if not found[name].isfinite().all()]):
        problems.append(f"{len(infinite)} tensors hold values that are not finite ({listed(infinite)})")
    if problems:
        raise CheckpointError(f"{complaint}: {'; '.join(problems)}")


def printable(name: str) -> str:
    """A name from a file as it may stand in a message of one line."""
    return name if name.isprintable() else repr(name)


def listed(items: Sequence[str]) -> str:
    """Items in a message: all but of very many, then the first and how many more."""
    rest = len(items) - MOST_LISTED
    return ", ".join(items[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _fits(found: torch.dtype, wanted: torch.dtype) -> bool:
    return found in FLOAT_TYPES if wanted.is_floating_point else found == wanted
