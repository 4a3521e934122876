"""Reads weights as users have them, from PyTorch and safetensors, whole or in shards, and runs no code in them."""

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdcpc_core.checkpoint import HEADER_KEY
from sdcpc_core.errors import CheckpointError

FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where a Hugging Face folder keeps its weights, the best first."""

CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "network", "weights")
"""Keys under which training programs save a state dict, beside optimizers and counters."""

MAX_NESTING = 4
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        tensors: by the names in the file, on the CPU.
        config: ``config.json`` of a Hugging Face folder; empty where there is none.
        preprocessing: ``preprocessor_config.json`` of a Hugging Face folder; empty where there is none.
        meta: what mmcv stored with the weights; empty where it did not.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    meta: Mapping[str, Any]


def read_weight_file(path: str | Path) -> WeightFile:
    """Read a file, the index of shards, or a Hugging Face folder.

    Raises:
        CheckpointError: nothing to read there, a broken file, one that needs code to be run, a state dict that is
            not one of tensors, or a checkpoint of this package.
    """
    path = Path(path)
    try:
        file = _file_of(path) if path.is_dir() else path
        if not file.is_file():
            raise CheckpointError(f"no weights at {file}")
    except OSError as err:
        raise CheckpointError(f"no weights at {path}: {err.strerror}") from err
    meta: Mapping[str, Any] = {}
    if file.suffix == ".json":
        tensors = _read_shards(file)
    elif file.suffix == ".safetensors":
        tensors = _read_safetensors(file)
    else:
        content = _read_pickle(file)
        tensors = _state_dict(content, file)
        if isinstance(content.get("meta"), dict):
            meta = content["meta"]
    return WeightFile(tensors, _beside(file, "config.json"), _beside(file, "preprocessor_config.json"), meta)


def _beside(file: Path, name: str) -> dict[str, Any]:
    place = file.with_name(name)
    # Beside weights of another name it may be anything's.
    return _read_json(place) if file.name in FOLDER_FILES and place.is_file() else {}


def _file_of(folder: Path) -> Path:
    found = [folder / name for name in FOLDER_FILES if (folder / name).is_file()]
    if not found:
        raise CheckpointError(f"no weights in the folder {folder}: it has none of {', '.join(FOLDER_FILES)}")
    return found[0]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise CheckpointError(f"{file} is not readable JSON: {err}") from err
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no JSON object")
    return content


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{index} is no index of shards: it has no weight_map of names to files")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        shard = index.parent / name
        if shard.parent != index.parent or shard.suffix not in (".safetensors", ".bin") or not shard.is_file():
            raise CheckpointError(f"{index} names the shard {name!r}, which is no file of weights beside it")
        content = (
            _read_safetensors(shard) if shard.suffix == ".safetensors" else _state_dict(_read_pickle(shard), shard)
        )
        tensors.update(content)
    if absent := sorted(weight_map.keys() - tensors.keys()):
        raise CheckpointError(f"{index}: the shards lack {len(absent)} tensors of the index, such as {absent[0]}")
    return tensors


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            if HEADER_KEY in (opened.metadata() or {}):
                raise CheckpointError(
                    f"{file} is a checkpoint of sdcpc: name it as --checkpoint, or as model.checkpoint in training"
                )
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as err:
        raise _unreadable(file, "safetensors file", err) from err


def _read_pickle(file: Path) -> Any:
    try:
        # Mapped, a training checkpoint gives its weights without its optimizer being read; old files cannot be.
        return torch.load(str(file), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as err:  # what bytes that are no pickle raise has no common base
        if re.search("Unsupported (global|class)", str(err)):
            raise CheckpointError(
                f"{file} holds more than tensors, and reading it would run code from the file; where you trust its "
                "source, read it with torch.load(FILE, weights_only=False) and torch.save its state dict alone"
            ) from err
        raise _unreadable(file, "file of PyTorch weights", err) from err


def _unreadable(file: Path, kind: str, err: Exception) -> CheckpointError:
    if isinstance(err, OSError) and err.strerror:
        return CheckpointError(f"cannot read {file}: {err.strerror}")
    with file.open("rb") as opened:
        if opened.read(len(LFS_POINTER)) == LFS_POINTER:
            return CheckpointError(f"{file} only points to the weights; fetch them with git lfs pull")
    return CheckpointError(f"{file} is not a {kind}, or is cut off")


def _state_dict(content: Any, file: Path) -> dict[str, Tensor]:
    for _ in range(MAX_NESTING):
        if not isinstance(content, dict) or any(isinstance(value, Tensor) for value in content.values()):
            break
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), None)
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no state dict, neither by itself nor under {', '.join(CONTAINERS)}")
    strange = [name for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(f"{file}: of its state dict {len(strange)} entries, as {strange[0]!r}, are no tensors")
    return content
