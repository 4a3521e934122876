"""Checkpoints that explain themselves: one safetensors file with weights and all that is needed to use them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.overrides import TorchFunctionMode

from sdcpc_core.errors import CheckpointError, ConfigError
from sdcpc_core.labels import LabelSet
from sdcpc_core.models import VideoModel, build_model
from sdcpc_core.models.video_model import MIN_SIDE
from sdcpc_core.output import atomic_output, output_errors
from sdcpc_core.tensor_check import check_tensors, listed

FORMAT_VERSION = 1
HEADER_KEY = "sdcpc"
SHIPPED_CHECKPOINT = Path(__file__).parent / "checkpoints" / "camvid_resnet18.safetensors"


@dataclass(frozen=True)
class CheckpointHeader:
    """Everything about a model but its weights.

    Attributes:
        model_name: name for ``build_model``, e.g. ``"sdcpc_mit_b0"``.
        model_options: keyword arguments for ``build_model``; in a file always complete, with the reference ages.
        labels: what the class ids mean.
        working_size_hw: height and width in pixels the model was trained to work at.
        provenance: how the weights came to be: data, settings, commit, seed, versions, figures; JSON values.
        format_version: version of this layout.
    """

    model_name: str
    model_options: Mapping[str, Any]
    labels: LabelSet
    working_size_hw: tuple[int, int]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def build(self) -> VideoModel:
        """Build the model with fresh weights.

        Raises:
            ConfigError: the name or an option is not known.
        """
        return build_model(self.model_name, self.labels.num_classes, **self.model_options)

    def to_json(self) -> str:
        """The header as it is stored in the file's metadata."""
        return json.dumps(
            {
                "format_version": self.format_version,
                "model": {"name": self.model_name, "options": dict(self.model_options)},
                "labels": self.labels.to_dict(),
                "working_size_hw": list(self.working_size_hw),
                "provenance": dict(self.provenance),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "CheckpointHeader":
        """Inverse of ``to_json``.

        Raises:
            CheckpointError: not such a header, or of a newer format.
        """
        try:
            data = json.loads(text)
            version = int(data["format_version"])
            if version != FORMAT_VERSION:
                raise CheckpointError(
                    f"checkpoint format {version}; this version of sdcpc reads format {FORMAT_VERSION}: update sdcpc"
                )
            height, width = (int(side) for side in data["working_size_hw"])
            if min(height, width) < MIN_SIDE:
                raise ValueError(f"working_size_hw is {height}x{width}")
            return cls(
                model_name=data["model"]["name"],
                model_options=data["model"]["options"],
                labels=LabelSet.from_dict(data["labels"]),
                working_size_hw=(height, width),
                provenance=dict(data["provenance"]),
            )
        except (ValueError, KeyError, TypeError) as err:
            raise CheckpointError(f"the header of the checkpoint is broken ({err!r})") from err


def save_checkpoint(
    path: str | Path, model: VideoModel, header: CheckpointHeader, *, dtype: torch.dtype | None = None
) -> None:
    """Write weights and header; the file appears under its name only when it is whole.

    Args:
        path: file to write, replaced if it exists.
        model: its weights; must be what ``header.build()`` makes.
        header: stored in the file's metadata.
        dtype: type to store floating-point weights in, e.g. ``torch.float16``; as they are by default.

    Raises:
        CheckpointError: the model is not the one the header describes, or a weight is not finite in ``dtype``.
        OutputError: the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    described = _skeleton(header)
    check_tensors(tensors, described.state_dict(), f"{path} does not fit its model")
    if dtype is not None:
        tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
        if large := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            short = str(dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{path}: too large for {short}, so leave out --half or half_weights: {listed(large)}"
            )
    if model.options != described.options:
        raise CheckpointError(f"{path}: the model has options {model.options}, its header {described.options}")
    complete = replace(header, model_options=model.options)
    with output_errors(path), atomic_output(path, overwrite=True) as draft:
        # Not save_file, whose files only their owner may read.
        draft.write_bytes(save(tensors, metadata={HEADER_KEY: complete.to_json()}))


def load_checkpoint(path: str | Path) -> tuple[VideoModel, CheckpointHeader]:
    """Rebuild the model of a checkpoint, in float32, on the CPU, ready for inference.

    Nothing but tensors and JSON is read; pickles are never executed.

    Raises:
        CheckpointError: the file is missing, is not a checkpoint, or its tensors are not those of its model.
    """
    header = read_header(path)
    try:
        wanted = _skeleton(header).state_dict()
    except ConfigError as err:
        raise CheckpointError(f"{path}: {err}") from err
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    check_tensors(tensors, wanted, f"{path} does not fit its model")
    model = header.build()
    model.load_state_dict(tensors)
    return model.eval().to(memory_format=torch.channels_last), header


def read_header(path: str | Path) -> CheckpointHeader:
    """Read what a checkpoint says about itself, without its weights.

    Raises:
        CheckpointError: the file is missing or is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError as err:
        raise CheckpointError(f"no checkpoint at {path}") from err
    except (SafetensorError, OSError) as err:
        raise CheckpointError(f"{path} is not a safetensors file, or is cut off: {err}") from err
    if HEADER_KEY not in metadata:
        raise CheckpointError(f"{path} holds tensors but is not a checkpoint of sdcpc: make one with `sdcpc train`")
    try:
        return CheckpointHeader.from_json(metadata[HEADER_KEY])
    except CheckpointError as err:
        raise CheckpointError(f"{path}: {err}") from err


def default_checkpoint() -> Path:
    """Path of the checkpoint that comes with the package.

    Raises:
        CheckpointError: this installation has none.
    """
    if not SHIPPED_CHECKPOINT.is_file():
        raise CheckpointError(f"no checkpoint comes with this installation ({SHIPPED_CHECKPOINT}); name one")
    return SHIPPED_CHECKPOINT


def _skeleton(header: CheckpointHeader) -> VideoModel:
    with torch.device("meta"), _NothingDrawn():
        return header.build()


class _NothingDrawn(TorchFunctionMode):
    """Leaves out normal draws: on the meta device they fill nothing and import PyTorch's compiler, which takes long."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return args[0] if func is torch.Tensor.normal_ else func(*args, **(kwargs or {}))
