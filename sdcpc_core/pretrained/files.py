"""Reads weights as users have them, from PyTorch and safetensors, whole or in shards, and runs no code in them."""

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdcpc_core.errors import CheckpointError
from sdcpc_core.tensor_check import printable

FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where a Hugging Face folder keeps its weights, the best first."""

CONTAINERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "weights"),
    *("ema", "model_ema"),
)
"""Keys under which training programs save a state dict beside optimizers and counters; averages are the last choice."""

MAX_NESTING = 4
LFS_POINTER = b"version https://git-lfs"
ALONE = "save the one you want alone with torch.save"
TRUSTED = (
    "where you trust its source, read it with torch.load(FILE, weights_only=False) and torch.save its state dict alone"
)
REFUSALS = {
    "Unsupported (global|class)": f"holds more than tensors, and reading it would run code from the file; {TRUSTED}",
    "Unsupported operand 149": f"is saved with pickle protocol 4 or newer, and only up to 2 is read; {TRUSTED}",
    "TorchScript": (
        "is a TorchScript archive, which is a program; where you trust its source, torch.save the state_dict() of "
        "torch.jit.load(FILE)"
    ),
}
"""What PyTorch says of whole files that it does not read, and what is said here."""


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        tensors: by the names in the file, on the CPU.
        config: ``config.json`` of a Hugging Face folder; empty where there is none.
        preprocessing: ``preprocessor_config.json`` of a Hugging Face folder; empty where there is none.
        meta: what mmcv stored with the weights; empty where it did not.
        metadata: of a safetensors file; empty where there is none.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    meta: Mapping[str, Any]
    metadata: Mapping[str, str]


def read_weight_file(path: str | Path) -> WeightFile:
    """Read a file, the index of shards, or a Hugging Face folder.

    Raises:
        CheckpointError: nothing to read there, a broken file, one that needs code to be run, or a state dict that
            is not one of plain tensors.
    """
    path = Path(path)
    try:
        file = _file_of(path) if path.is_dir() else path
        if not file.is_file():
            raise CheckpointError(f"no weights at {file}{_hint(path)}")
    except OSError as err:
        raise CheckpointError(f"no weights at {path}: {err.strerror}") from err
    meta: Mapping[str, Any] = {}
    metadata: Mapping[str, str] = {}
    if file.suffix == ".json":
        tensors = _read_shards(file)
    elif file.suffix == ".safetensors":
        tensors, metadata = _read_safetensors(file)
    else:
        content = _read_pickle(file)
        tensors = _state_dict(content, file)
        if isinstance(content.get("meta"), dict):
            meta = content["meta"]
    beside = (_beside(file, "config.json"), _beside(file, "preprocessor_config.json"))
    return WeightFile(tensors, *beside, meta, metadata)


def read_json(file: Path) -> Any:
    """Read a JSON file, with or without a byte order mark.

    Raises:
        CheckpointError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as err:
        raise CheckpointError(f"cannot read {file}: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise CheckpointError(f"{file} is not readable JSON: {err}") from err


def _hint(path: Path) -> str:
    if path.suffix or path.is_absolute() or len(path.parts) != 2:
        return ""
    return f"; if this is a name on the Hugging Face Hub, download it first: hf download {path} --local-dir DIR"


def _beside(file: Path, name: str) -> dict[str, Any]:
    place = file.with_name(name)
    # Beside weights of another name it may be anything's.
    if file.name not in FOLDER_FILES or not place.is_file():
        return {}
    content = read_json(place)
    if not isinstance(content, dict):
        raise CheckpointError(f"{place} holds no JSON object")
    return content


def _file_of(folder: Path) -> Path:
    found = [folder / name for name in FOLDER_FILES if (folder / name).is_file()]
    if not found:
        raise CheckpointError(f"no weights in the folder {folder}: it has none of {', '.join(FOLDER_FILES)}")
    return found[0]


def _read_shards(index: Path) -> dict[str, Tensor]:
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(
            f"{index} is no index of shards: it has no weight_map of names to files; of a Hugging Face model name the "
            f"folder, {index.parent}"
        )
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        shard = index.parent / name
        if shard.parent != index.parent or shard.suffix not in (".safetensors", ".bin") or not shard.is_file():
            raise CheckpointError(f"{index} names the shard {name!r}, which is no file of weights beside it")
        is_safe = shard.suffix == ".safetensors"
        tensors.update(_read_safetensors(shard)[0] if is_safe else _state_dict(_read_pickle(shard), shard))
    if absent := sorted(weight_map.keys() - tensors.keys()):
        raise CheckpointError(
            f"{index}: the shards lack {len(absent)} tensors of the index, such as {printable(absent[0])}"
        )
    return tensors


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
            return tensors, opened.metadata() or {}
    except (SafetensorError, OSError) as err:
        raise _unreadable(file, "safetensors file", err) from err


def _read_pickle(file: Path) -> Any:
    try:
        is_zip = zipfile.is_zipfile(file)
        if is_zip and _is_compressed(file):
            raise CheckpointError(f"{file} has compressed records, which torch.save never writes: it is not read")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said below
            # Mapped, a training checkpoint gives its weights without its optimizer being read; old files cannot be.
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=is_zip)
    except CheckpointError:
        raise
    except Exception as err:  # what bytes that are no pickle raise has no common base
        for said, refusal in REFUSALS.items():
            if re.search(said, str(err)):
                raise CheckpointError(f"{file} {refusal}") from err
        raise _unreadable(file, "file of PyTorch weights", err) from err


def _is_compressed(file: Path) -> bool:
    with zipfile.ZipFile(file) as archive:
        # The program of a TorchScript archive is compressed, and not read either.
        records = [record for record in archive.infolist() if "/code/" not in record.filename]
        return any(record.compress_type != zipfile.ZIP_STORED for record in records)


def _unreadable(file: Path, kind: str, err: Exception) -> CheckpointError:
    if isinstance(err, OSError) and err.strerror:
        return CheckpointError(f"cannot read {file}: {err.strerror}")
    with file.open("rb") as opened:
        if opened.read(len(LFS_POINTER)) == LFS_POINTER:
            return CheckpointError(f"{file} only points to the weights; fetch them with git lfs pull")
    return CheckpointError(f"{file} is not a {kind}, or is cut off")


def _state_dict(content: Any, file: Path) -> dict[str, Tensor]:
    for _ in range(MAX_NESTING):
        inner = [content[key] for key in CONTAINERS if isinstance(content, dict) and isinstance(content.get(key), dict)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"{file} holds no state dict, neither by itself nor under {', '.join(CONTAINERS)}; {ALONE}"
        )
    strange = [name for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(
            f"{file}: of its state dict {len(strange)} entries, as {strange[0]!r}, are no tensors; {ALONE}"
        )
    _check_plain(content, file)
    return content


def _check_plain(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Refuse tensors that are not simply numbers in the file, as many as they say."""
    for name, tensor in tensors.items():
        is_plain = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
        if not is_plain or tensor.device.type != "cpu":
            raise CheckpointError(
                f"{file}: {printable(name)} is nested, sparse, quantized or without values; save plain tensors"
            )
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    if claimed > sum(held.values()):
        raise CheckpointError(
            f"{file}: its tensors are {claimed} bytes of which {sum(held.values())} are in the file, as of expanded or "
            "shared ones; save a clone() of each"
        )
