"""The command ``sdcpc convert``: SegFormers of NVlabs and Hugging Face become checkpoints of this package."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.arguments import size_hw
from sdcpc_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.pretrained import PretrainedFile

CLASSIFIER = "decode_head.linear_pred.weight"
WORKING_SIZE_HW = (512, 1024)


def convert(argv: list[str]) -> None:
    """Make a checkpoint of a SegFormer from NVlabs or Hugging Face, for all that takes one."""
    arguments = _parse(argv)

    import torch

    from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
    from sdcpc_core.models import build_model
    from sdcpc_core.models.video_model import MIN_SIDE
    from sdcpc_core.output import check_output
    from sdcpc_core.pretrained import fill_segformer, read_pretrained
    from sdcpc_core.report import run_facts

    if arguments.model and not arguments.model.startswith("segformer_"):
        raise ConfigError(f"--model {arguments.model}; what is converted is a SegFormer, such as segformer_mit_b0")
    check_output(arguments.out, overwrite=arguments.overwrite)
    file = read_pretrained(arguments.weights)
    name = arguments.model or model_name(file)
    num_classes, decoder_channels = _classifier_shape(file)
    _check_normalization(file)
    height, width = arguments.size or _preprocessed_size(file) or WORKING_SIZE_HW
    if min(height, width) < MIN_SIDE:
        raise ConfigError(f"working size {height}x{width}; both sides must be at least {MIN_SIDE}: pass another --size")
    labels = _labels(arguments.labels, file)
    if labels.num_classes != num_classes:
        raise ConfigError(
            f"{file.path} tells {num_classes} classes apart, label set {labels.name!r} has {labels.num_classes}; "
            "pass --labels with the set it was trained on"
        )
    options = {"decoder_channels": decoder_channels}
    model = build_model(name, num_classes, **options)
    loaded = fill_segformer(model, file)
    provenance = {
        "source": loaded.source,
        "licence_note": loaded.licence_note,
        "left_out": list(loaded.left_out),
        **run_facts({"weights": file.path.absolute().name, "half": arguments.half}),
    }
    header = CheckpointHeader(name, options, labels, (height, width), provenance)
    save_checkpoint(arguments.out, model, header, dtype=torch.float16 if arguments.half else None)

    print(f"{arguments.out}: {name} from {loaded.source}, working at {height}x{width}")
    print(f"{num_classes} classes of label set {labels.name!r}; dynamic: {', '.join(labels.dynamic) or 'none'}")
    if loaded.licence_note:
        print(f"note: {loaded.licence_note}")


def model_name(file: "PretrainedFile") -> str:
    """Name of the SegFormer whose encoder the file holds.

    Raises:
        CheckpointError: the encoder is none that is built here.
    """
    from sdcpc_core.pretrained import backbone_name

    backbone = backbone_name(file.tensors)
    if backbone is None:
        raise CheckpointError(f"{file.path}: its encoder is of no size that is built here, or incomplete; pass --model")
    return f"segformer_{backbone}"


def _check_normalization(file: "PretrainedFile") -> None:
    from sdcpc_core.models.normalization import IMAGENET_MEAN, IMAGENET_STD

    for key, ours in {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}.items():
        expected = [round(value / 255, 3) for value in ours]
        found = file.preprocessing.get(key, expected)
        if found != expected:
            raise CheckpointError(f"{file.path}: its preprocessing has {key} {found}; networks here take {expected}")


def _preprocessed_size(file: "PretrainedFile") -> tuple[int, int] | None:
    """Height and width that Hugging Face's preprocessing resizes images to; None where it does not tell."""
    size = file.preprocessing.get("size")
    sides = (size.get("height"), size.get("width")) if isinstance(size, dict) else (size, size)
    return sides if all(isinstance(side, int) and side > 0 for side in sides) else None


def _labels(text: str | None, file: "PretrainedFile") -> "LabelSet":
    from sdcpc_core.labels import LABEL_SETS, LabelSet, label_set_of

    if text in LABEL_SETS:
        return LABEL_SETS[text]
    place = file.path if text is None else Path(text)
    data = file.config.get("id2label", file.meta.get("CLASSES")) if text is None else _read_labels(place)
    try:
        if isinstance(data, dict) and "names" in data:
            return LabelSet.from_dict(data)
        return label_set_of(_in_order(data), name=place.absolute().stem)
    except ConfigError as err:
        raise ConfigError(f"{place}: {err}; pass --labels with camvid, cityscapes or a JSON file of names") from err


def _read_labels(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ConfigError(f"--labels {file} is neither camvid nor cityscapes nor a readable JSON file: {err}") from err


def _in_order(names: Any) -> list[str]:
    """Class names in the order of their ids."""
    if isinstance(names, dict):
        names = [names.get(str(index)) for index in range(len(names))]
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError("no class names there, neither as a list nor by the ids 0, 1, …")
    return list(names)


def _classifier_shape(file: "PretrainedFile") -> tuple[int, int]:
    """Number of classes and width of the decoder."""
    if CLASSIFIER not in file.tensors or file.tensors[CLASSIFIER].ndim != 4:
        raise CheckpointError(
            f"{file.path} holds no decode head: it is an encoder, with which a model can be trained, and no SegFormer"
        )
    return tuple(file.tensors[CLASSIFIER].shape[:2])


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc convert", description=convert.__doc__)
    parser.add_argument(
        "weights", metavar="WEIGHTS", type=Path, help=".pth of NVlabs, or a Hugging Face folder or file of weights"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="checkpoint to write (.safetensors)")
    parser.add_argument("--model", metavar="NAME", help="e.g. segformer_mit_b0 (default: as the tensors tell)")
    parser.add_argument(
        "--labels",
        metavar="SET|FILE",
        help="camvid, cityscapes, or JSON: names or a label set (default: the file's)",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=size_hw,
        help="frames are resized to about as many pixels as this (default: as the folder tells, or 512x1024)",
    )
    parser.add_argument("--half", action="store_true", help="store the weights as float16")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return parser.parse_args(argv)
