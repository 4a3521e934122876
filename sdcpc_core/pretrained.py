"""Fills encoders and SegFormers with the weights users have: every tensor is matched, or nothing is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sdcpc_core.errors import CheckpointError
from sdcpc_core.models.mit import MIT_SIZES
from sdcpc_core.models.resnet import RESNET_DEPTHS
from sdcpc_core.models.segformer import SegFormer
from sdcpc_core.tensor_check import check_tensors
from sdcpc_core.weight_files import read_weight_file
from sdcpc_core.weight_layouts import FIXED_CONFIG, HUGGING_FACE, Layout, in_our_names

CLASSIFIER = re.compile(r"(?:head|fc|classifier|auxiliary_head|decode_head\.conv_seg)\.")
"""Of ImageNet and of losses; ``conv_seg`` comes with every decode head of mmseg, and SegFormer's does not use it."""
DECODE_HEAD = re.compile(r"decode_head\.")


@dataclass(frozen=True)
class PretrainedWeights:
    """What was loaded.

    Attributes:
        source: kind of file, for people, e.g. ``"NVlabs MiT"``.
        left_out: names of tensors that the model has no place for: classifiers and, for an encoder, the decode head.
        licence_note: what the weights may be used for, where that is limited.
    """

    source: str
    left_out: tuple[str, ...]
    licence_note: str | None


@dataclass(frozen=True)
class PretrainedFile:
    """A file in a layout that is known here.

    Attributes:
        path: as given.
        layout: what its names were like.
        tensors: by the names of this package's encoders, and of SegFormer's ``decode_head``.
        config: as in ``WeightFile``, and so are ``preprocessing`` and ``meta``.
    """

    path: Path
    layout: Layout
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    meta: Mapping[str, Any]


def read_pretrained(path: str | Path) -> PretrainedFile:
    """Read a file and give its tensors the names they have here.

    Args:
        path: file, index of shards or Hugging Face folder.

    Raises:
        CheckpointError: the file cannot be read, its names are of no known layout, or its config is of a network
            that is not built here.
    """
    file = read_weight_file(path)
    layout, tensors = in_our_names(file.tensors, path)
    if layout is HUGGING_FACE:
        for key, value in FIXED_CONFIG.items():
            if file.config.get(key, value) != value:
                raise CheckpointError(f"{path}: its config has {key} {file.config[key]!r}; MiT has {value!r} here")
    return PretrainedFile(Path(path), layout, tensors, file.config, file.preprocessing, file.meta)


def load_backbone_weights(backbone: nn.Module, path: str | Path) -> PretrainedWeights:
    """Fill an encoder.

    Args:
        backbone: ``MixTransformer`` or ``ResNet``; unchanged when the load is refused.
        path: file, index of shards or Hugging Face folder: an encoder, a classifier or a whole SegFormer.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing, unexpected, of another shape, or not finite.
    """
    file = read_pretrained(path)
    kept = {name: name for name in file.tensors if not CLASSIFIER.match(name) and not DECODE_HEAD.match(name)}
    return _fill(backbone, backbone, file, kept)


def load_segformer_weights(model: SegFormer, path: str | Path) -> PretrainedWeights:
    """Fill a whole SegFormer.

    Args:
        model: unchanged when the load is refused.
        path: file, index of shards or Hugging Face folder of a whole SegFormer.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing, unexpected, of another shape, or not finite.
    """
    return fill_segformer(model, read_pretrained(path))


def fill_segformer(model: SegFormer, file: PretrainedFile) -> PretrainedWeights:
    """Fill a whole SegFormer from a file that has been read; as ``load_segformer_weights``."""
    kept = {
        name: name if DECODE_HEAD.match(name) else f"backbone.{name}"
        for name in file.tensors
        if not CLASSIFIER.match(name)
    }
    return _fill(model, model.backbone, file, kept)


def backbone_name(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the encoder whose depths and width these tensors have, e.g. ``"mit_b0"``; None for none built here."""
    depths, width = _depths(tensors, "block"), tensors["norm4.weight"].numel() if "norm4.weight" in tensors else None
    for size, shape in MIT_SIZES.items():
        if (depths, width) == (shape.depths, shape.embed_dims[-1]):
            return f"mit_{size}"
    depths, has_bottlenecks = _depths(tensors, "layer"), "layer1.0.conv3.weight" in tensors
    for depth, shape in RESNET_DEPTHS.items():
        if depths == shape and has_bottlenecks == (depth != "18"):
            return f"resnet{depth}"
    return None


def _depths(tensors: Mapping[str, Tensor], stage: str) -> tuple[int, ...]:
    blocks = {found[0]: found[1] for name in tensors if (found := re.match(rf"{stage}([1-4])\.\d+\.", name))}
    return tuple(list(blocks.values()).count(number) for number in "1234")


def _fill(module: nn.Module, backbone: nn.Module, file: PretrainedFile, kept: Mapping[str, str]) -> PretrainedWeights:
    """Load the kept tensors, renamed, or raise and load none."""
    wanted = module.state_dict()
    # Counters of batches, which no inference uses and files from before 2018 lack.
    counters = {name: tensor for name, tensor in wanted.items() if name.endswith("num_batches_tracked")}
    tensors = counters | {ours: file.tensors[name] for name, ours in kept.items()}
    found, own = backbone_name(file.tensors), backbone_name(backbone.state_dict())
    verdict = f"holds {found}, not {own}" if found and found != own else "does not fit the model"
    check_tensors(tensors, wanted, f"{file.path} {verdict}")
    module.load_state_dict(tensors)
    left_out = tuple(sorted(file.tensors.keys() - kept.keys()))
    return PretrainedWeights(file.layout.source, left_out, file.layout.licence_note)
