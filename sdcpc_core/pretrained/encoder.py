"""Fills encoders and SegFormers with the weights users have: every tensor is matched, or nothing is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sdcpc_core.checkpoint import HEADER_KEY, CheckpointHeader
from sdcpc_core.errors import CheckpointError
from sdcpc_core.models import build_model
from sdcpc_core.models.mit import MIT_SIZES
from sdcpc_core.models.resnet import RESNET_DEPTHS
from sdcpc_core.models.segformer import SegFormer
from sdcpc_core.pretrained.files import WeightFile, read_weight_file
from sdcpc_core.pretrained.layouts import FIXED_CONFIG, HUGGING_FACE, in_our_names
from sdcpc_core.tensor_check import check_tensors

CLASSIFIER = re.compile(r"(?:head|fc|classifier|auxiliary_head|decode_head\.conv_seg)\.")
"""Of ImageNet and of losses; ``conv_seg`` comes with every decode head of mmseg, and SegFormer's does not use it."""
DECODE_HEAD = re.compile(r"decode_head\.")
LAST_LAYER = "decode_head.linear_pred.weight"


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
    """A file whose tensors have names here.

    Attributes:
        path: as given.
        file: what was read.
        source: as in ``PretrainedWeights``, and so is ``licence_note``.
        tensors: by the names of this package's encoders, and of SegFormer's ``decode_head``.
        names: by the same names, those in the file.
    """

    path: Path
    file: WeightFile
    source: str
    licence_note: str | None
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]


def read_pretrained(path: str | Path) -> PretrainedFile:
    """Read a file and give its tensors the names they have here.

    Args:
        path: file, index of shards, Hugging Face folder, or checkpoint of this package, of which the encoder is taken.

    Raises:
        CheckpointError: the file cannot be read, its names are of no known layout, or its config is of a network
            that is not built here.
    """
    file = read_weight_file(path)
    if HEADER_KEY in file.metadata:
        note = CheckpointHeader.from_json(file.metadata[HEADER_KEY]).provenance.get("licence_note")
        names = {name.removeprefix("backbone."): name for name in file.tensors if name.startswith("backbone.")}
        encoder = {ours: file.tensors[name] for ours, name in names.items()}
        return PretrainedFile(Path(path), file, "sdcpc checkpoint", note, encoder, names)
    layout, tensors, names = in_our_names(file.tensors, path)
    if layout is HUGGING_FACE:
        for key, value in FIXED_CONFIG.items():
            if file.config.get(key, value) != value:
                raise CheckpointError(f"{path}: its config has {key} {file.config[key]!r}; MiT has {value!r} here")
    return PretrainedFile(Path(path), file, layout.source, layout.licence_note, tensors, names)


def load_backbone_weights(backbone: nn.Module, path: str | Path) -> PretrainedWeights:
    """Fill an encoder.

    Args:
        backbone: ``MixTransformer`` or ``ResNet``; unchanged when the load is refused.
        path: as in ``read_pretrained``: an encoder, a classifier, a whole SegFormer or a checkpoint.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing, unexpected, of another shape, or not finite.
    """
    file = read_pretrained(path)
    kept = {name: name for name in file.tensors if not CLASSIFIER.match(name) and not DECODE_HEAD.match(name)}
    found, own = backbone_name(file.tensors), backbone_name(backbone.state_dict())
    if found and found != own:
        raise CheckpointError(f"{path} holds {found}, not {own}: set model.name to sdcpc_{found} or segformer_{found}")
    backbone.load_state_dict(_matched(file, kept, backbone.state_dict()))
    return _loaded(file, kept)


def build_segformer(file: PretrainedFile, name: str | None = None) -> tuple[str, SegFormer, PretrainedWeights]:
    """Build the SegFormer whose weights a file holds.

    Args:
        file: of a whole SegFormer; its classifier tells the number of classes and the decoder's width.
        name: as in ``build_model``; by default as the tensors tell.

    Returns:
        The model's name, the model, what was loaded.

    Raises:
        CheckpointError: an encoder alone or of no known size, or a tensor is missing, unexpected, of another shape, or
            not finite.
        ConfigError: no model of this name.
    """
    classifier, found = file.tensors.get(LAST_LAYER), backbone_name(file.tensors)
    if HEADER_KEY in file.file.metadata:
        raise CheckpointError(f"{file.path} is a checkpoint of sdcpc already: name it as --checkpoint")
    if not any(map(DECODE_HEAD.match, file.tensors)):
        raise CheckpointError(
            f"{file.path} holds no decode head: it is an encoder and no SegFormer; a model is trained with it by "
            "sdcpc train --model.backbone_weights"
        )
    if classifier is None or classifier.ndim != 4 or not classifier.numel():
        raise CheckpointError(f"{file.path}: its decode head has no classifier, or one that is no 1x1 convolution")
    if name is None and found is None:
        raise CheckpointError(f"{file.path}: its encoder is of no size that is built here, or incomplete; pass --model")
    name = name or f"segformer_{found}"
    num_classes, decoder_channels = classifier.shape[:2]
    # The file says how large the model is: memory is taken only for one that it fills.
    with torch.device("meta"):
        described = build_model(name, num_classes, decoder_channels=decoder_channels).state_dict()
    if found and name != f"segformer_{found}":
        raise CheckpointError(f"{file.path} holds {found}, not {name.removeprefix('segformer_')}: leave out --model")
    kept = {
        name: name if DECODE_HEAD.match(name) else f"backbone.{name}"
        for name in file.tensors
        if not CLASSIFIER.match(name)
    }
    tensors = _matched(file, kept, described)
    model = build_model(name, num_classes, decoder_channels=decoder_channels)
    model.load_state_dict(tensors)
    return name, model, _loaded(file, kept)


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


def _matched(file: PretrainedFile, kept: Mapping[str, str], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The kept tensors by their names in the model, if they are all that it wants."""
    # Counters of batches, which no inference uses and files from before 2018 lack.
    counters = {name: torch.tensor(0) for name in wanted if name.endswith("num_batches_tracked")}
    tensors = counters | {ours: file.tensors[name] for name, ours in kept.items()}
    names = {ours: file.names[name] for name, ours in kept.items()}
    check_tensors(tensors, wanted, f"{file.path} does not fit the model", names)
    return tensors


def _loaded(file: PretrainedFile, kept: Mapping[str, str]) -> PretrainedWeights:
    return PretrainedWeights(file.source, tuple(sorted(file.tensors.keys() - kept.keys())), file.licence_note)
