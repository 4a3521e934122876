"""Images and masks of one's own: ``images/<split>/`` and ``masks/<split>/`` beside a file that names the classes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcpc_core.data.dataset import FrameRecord, Layout
from sdcpc_core.data.files import (
    MASK_VALUES,
    UNLABELLED,
    BadFileError,
    MaskIds,
    images_in,
    without_images,
    without_masks,
)
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet, label_set_of
from sdcpc_core.video import check_rate

LABEL_FILES = ("labels.yaml", "labels.yml", "labels.json")
KEYS = ("name", "names", "palette", "dynamic", "void", "rate_hz")


@dataclass(frozen=True)
class Description:
    """What the label file says.

    Attributes:
        labels: names, colours and dynamic classes.
        void: values of unlabelled pixels in the masks; the others are the classes, in their order.
        rate_hz: frames per second of the videos; None where there are only single images.
    """

    labels: LabelSet
    void: frozenset[int]
    rate_hz: float | None


def folder_layout(root: Path, split: str, *, needs_labels: bool = True) -> Layout:
    """Find the images of one split; those in sub-folders are the frames of a video each.

    A single image needs a mask. In a video, frames without one serve as references.

    Raises:
        ConfigError: the label file does not describe a label set.
        InputError: the label file or a folder is missing, or there is nothing in it.
    """
    description = read_description(root)
    image_dir, mask_dir = root / "images" / split, root / "masks" / split
    with_masks = needs_labels or mask_dir.is_dir()
    for folder in (image_dir, mask_dir)[: 1 + with_masks]:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; put images into images/{split}/, masks into masks/{split}/")
    records: list[FrameRecord] = []
    faults: list[BadFileError] = []
    for folder in (image_dir, *sorted(path for path in image_dir.rglob("*") if path.is_dir())):
        place = folder.relative_to(image_dir)
        images = images_in(folder)
        masks = images_in(mask_dir / place) if (mask_dir / place).is_dir() else {}
        faults += without_images(masks, images)
        if folder == image_dir:
            faults += without_masks(images, masks, mask_dir) if with_masks else []
            records += [FrameRecord(stem, stem, 0, path, masks.get(stem)) for stem, path in images.items()]
        elif images:
            if with_masks and not masks:
                faults.append(
                    BadFileError(f"{folder} has no mask in {mask_dir / place}; add some", fault="videos without a mask")
                )
            records += _video(place, images, masks, description.rate_hz)
    faults += [
        BadFileError(f"{path} belongs to no folder of {image_dir}; add the images", fault="masks without an image")
        for path in sorted(mask_dir.rglob("*"))
        if path.is_dir() and not (image_dir / path.relative_to(mask_dir)).is_dir()
    ]
    if not records:
        raise InputError(f"{image_dir} holds no .png or .jpg images")
    return Layout(
        title=f"{description.labels.name} {split}",
        labels=description.labels,
        mask_ids=MaskIds.from_void(description.labels.num_classes, description.void),
        records=records,
        faults=faults,
    )


def read_description(root: Path) -> Description:
    """Read the file that names the classes, one of ``LABEL_FILES``.

    Raises:
        ConfigError: an unknown key, or values that describe no label set.
        InputError: there is no such file, or it is neither YAML nor JSON.
    """
    file = next((root / name for name in LABEL_FILES if (root / name).is_file()), None)
    if file is None:
        raise InputError(f"{root} holds no {LABEL_FILES[0]}; write one with the names of the classes")
    content = _parse(file)
    if not isinstance(content, dict) or "names" not in content or not set(content) <= set(KEYS):
        raise ConfigError(f"{file} must be a mapping with names, and of {', '.join(KEYS)} nothing but these")
    try:
        return _description(content, root.absolute().name)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"{file}: {err}") from err


def _description(content: dict[str, Any], folder: str) -> Description:
    names = content["names"]
    if not isinstance(names, list):
        raise ConfigError("names must be a list, one per class")
    named = label_set_of([str(name) for name in names], name=folder)
    labels = LabelSet(
        name=str(content.get("name", named.name)),
        names=tuple(map(str, names)),
        palette=tuple(tuple(colour) for colour in content.get("palette", named.palette)),
        dynamic=tuple(map(str, content.get("dynamic", named.dynamic))),
    )
    void = content.get("void", [UNLABELLED])
    if not isinstance(void, list) or not all(isinstance(value, int) and 0 <= value < MASK_VALUES for value in void):
        raise ConfigError(f"void is {void!r}; it must be a list of values 0..{MASK_VALUES - 1}")
    if labels.num_classes > min(UNLABELLED, MASK_VALUES - len(set(void))):
        raise ConfigError(f"{labels.num_classes} classes and {len(set(void))} void values do not fit into 8-bit masks")
    rate_hz = content.get("rate_hz")
    if rate_hz is not None:
        check_rate(float(rate_hz))
    return Description(labels, frozenset(void), rate_hz)


def _parse(file: Path) -> Any:
    text = file.read_bytes()
    if file.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as err:
            raise InputError(f"{file} is not JSON: {err}") from err
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InputError(f"{file} is not YAML: {err}") from err


def _video(
    place: Path, images: dict[str, Path], masks: dict[str, Path], rate_hz: float | None
) -> Sequence[FrameRecord]:
    if rate_hz is None:
        raise InputError(f"{place} is a video; add its rate_hz (frames per second) to {LABEL_FILES[0]}")
    return [
        FrameRecord(str(place / stem), str(place), round(index * 1e9 / rate_hz), path, masks.get(stem))
        for index, (stem, path) in enumerate(images.items())
    ]
