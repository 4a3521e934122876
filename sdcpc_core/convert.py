"""The command ``sdcpc convert``: SegFormers of NVlabs and Hugging Face become checkpoints of this package."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sdcpc_core.arguments import size_hw
from sdcpc_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.pretrained import PretrainedFile

CLASSIFIER = "decode_head.linear_pred.weight"


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

    if min(arguments.size) < MIN_SIDE:
        raise ConfigError(f"--size {'x'.join(map(str, arguments.size))}; both sides must be at least {MIN_SIDE}")
    if arguments.model and not arguments.model.startswith("segformer_"):
        raise ConfigError(f"--model {arguments.model}; what is converted is a SegFormer, such as segformer_mit_b0")
    check_output(arguments.out, overwrite=arguments.overwrite)
    file = read_pretrained(arguments.weights)
    name = arguments.model or model_name(file)
    num_classes, decoder_channels = _classifier_shape(file)
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
    header = CheckpointHeader(name, options, labels, arguments.size, provenance)
    save_checkpoint(arguments.out, model, header, dtype=torch.float16 if arguments.half else None)

    height, width = arguments.size
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


def class_names(file: "PretrainedFile") -> tuple[str, ...]:
    """Class names from Hugging Face's ``config.json``, or from what mmcv stores beside weights.

    Raises:
        ConfigError: there are none, or they do not number the classes from 0 on.
    """
    id2label = file.config.get("id2label")
    if isinstance(id2label, dict):
        names = [id2label.get(str(index)) for index in range(len(id2label))]
    else:
        names = file.meta.get("CLASSES")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{file.path} does not name its classes, in id2label of a config.json or otherwise")
    return tuple(names)


def _labels(text: str | None, file: "PretrainedFile") -> "LabelSet":
    from sdcpc_core.labels import LABEL_SETS, LabelSet, label_set_of

    if text is None:
        try:
            return label_set_of(class_names(file), name=file.path.absolute().stem)
        except ConfigError as err:
            raise ConfigError(f"{err}; pass --labels") from err
    if text in LABEL_SETS:
        return LABEL_SETS[text]
    try:
        data = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        known = ", ".join(LABEL_SETS)
        raise ConfigError(f"--labels {text} is neither a known set ({known}) nor a readable JSON file: {err}") from err
    try:
        return LabelSet.from_dict(data)
    except ConfigError as err:
        raise ConfigError(f"--labels {text}: {err}") from err


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
        "--labels", metavar="SET|FILE", help="camvid, cityscapes, or a label set as JSON (default: as the file tells)"
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=size_hw,
        default=(512, 1024),
        help="frames are resized to about as many pixels as this (default: 512x1024)",
    )
    parser.add_argument("--half", action="store_true", help="store the weights as float16")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return parser.parse_args(argv)
