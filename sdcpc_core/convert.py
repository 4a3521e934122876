"""The command ``sdcpc convert``: SegFormers of NVlabs and Hugging Face become checkpoints of this package."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sdcpc_core.arguments import size_hw
from sdcpc_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.pretrained.encoder import PretrainedFile

WORKING_SIZE_HW = (512, 1024)
TOLERANCE = 1e-3
"""Of means and deviations, which some files store as float32."""


def convert(argv: list[str]) -> None:
    """Make a checkpoint of a SegFormer from NVlabs or Hugging Face, for all that takes one."""
    arguments = _parse(argv)

    import torch

    from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
    from sdcpc_core.models.video_model import MIN_SIDE
    from sdcpc_core.output import check_output
    from sdcpc_core.pretrained.encoder import build_segformer, read_pretrained
    from sdcpc_core.report import run_facts

    if arguments.model and not arguments.model.startswith("segformer_"):
        raise ConfigError(f"--model {arguments.model}; what is converted is a SegFormer, such as segformer_mit_b0")
    check_output(arguments.out, overwrite=arguments.overwrite)
    file = read_pretrained(arguments.weights)
    _check_normalization(file)
    (height, width), why = (arguments.size, "as told") if arguments.size else _preprocessed_size(file)
    if min(height, width) < MIN_SIDE:
        raise ConfigError(f"working size {height}x{width}; both sides must be at least {MIN_SIDE}: pass another --size")
    name, model, loaded = build_segformer(file, arguments.model)
    labels = _labels(arguments.labels, file)
    if labels.num_classes != model.num_classes:
        raise ConfigError(
            f"{file.path} tells {model.num_classes} classes apart, label set {labels.name!r} has {labels.num_classes}; "
            "pass --labels with the set it was trained on"
        )
    provenance = {
        "source": loaded.source,
        "licence_note": loaded.licence_note,
        "left_out": list(loaded.left_out),
        **run_facts({"weights": file.path.absolute().name, "half": arguments.half}),
    }
    header = CheckpointHeader(name, model.options, labels, (height, width), provenance)
    save_checkpoint(arguments.out, model, header, dtype=torch.float16 if arguments.half else None)

    print(f"{arguments.out}: {name} from {loaded.source}, working at {height}x{width} ({why})")
    print(f"{labels.num_classes} classes of label set {labels.name!r}; dynamic: {', '.join(labels.dynamic) or 'none'}")
    if loaded.licence_note:
        print(f"note: {loaded.licence_note}")


def _check_normalization(file: "PretrainedFile") -> None:
    from sdcpc_core.models.normalization import IMAGENET_MEAN, IMAGENET_STD

    preprocessing = file.file.preprocessing
    for key in ("do_rescale", "do_normalize"):
        if not preprocessing.get(key, True):
            raise CheckpointError(f"{file.path}: its preprocessing has {key} false; networks here always do that")
    for key, ours in {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}.items():
        expected = [value / 255 for value in ours]
        found = preprocessing.get(key, expected)
        is_triple = isinstance(found, list) and len(found) == 3 and all(isinstance(v, int | float) for v in found)
        if not is_triple or not all(abs(v - e) <= TOLERANCE for v, e in zip(found, expected, strict=True)):
            shown = [round(value, 3) for value in expected]
            raise CheckpointError(f"{file.path}: its preprocessing has {key} {found}; networks here take {shown}")


def _preprocessed_size(file: "PretrainedFile") -> tuple[tuple[int, int], str]:
    """Height and width that Hugging Face's preprocessing resizes images to, or else the default; and which it is."""
    size = file.file.preprocessing.get("size")
    sides = (size.get("height"), size.get("width")) if isinstance(size, dict) else (size, size)
    if all(type(side) is int and side > 0 for side in sides):
        return sides, "as its preprocessing"
    return WORKING_SIZE_HW, f"the default, as its preprocessing has size {size}" if size else "the default"


def _labels(text: str | None, file: "PretrainedFile") -> "LabelSet":
    from sdcpc_core.labels import LABEL_SETS, LabelSet, label_set_of
    from sdcpc_core.pretrained.files import FOLDER_FILES, read_json

    if text is not None and text.casefold() in LABEL_SETS:
        return LABEL_SETS[text.casefold()]
    place, palette = file.path.absolute() if text is None else Path(text), None
    if text is None:
        data = file.file.config.get("id2label", file.file.meta.get("CLASSES"))
        palette = file.file.meta.get("PALETTE")
    else:
        try:
            data = read_json(place)
        except CheckpointError as err:
            raise ConfigError(f"--labels {text} is neither camvid nor cityscapes nor a label file: {err}") from err
    try:
        if isinstance(data, dict) and "names" in data:
            return LabelSet.from_dict(data)
        # What every Hugging Face folder calls its file names no data set.
        name = place.parent.name if place.name in FOLDER_FILES else place.name if place.is_dir() else place.stem
        return label_set_of(_in_order(data), name=name, palette=palette)
    except ConfigError as err:
        raise ConfigError(f"{place}: {err}; pass --labels with camvid, cityscapes or a JSON file of names") from err


def _in_order(names: object) -> list[str]:
    """Class names in the order of their ids."""
    if isinstance(names, dict):
        names = [names.get(str(index)) for index in range(len(names))]
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError("no class names there, neither as a list nor by the ids 0, 1, …")
    return list(names)


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
