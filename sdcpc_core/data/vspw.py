"""VSPW in its 480p copy: ``{train,val,test}.txt`` list the clips, ``data/<clip>/`` holds ``origin/`` and ``mask/``."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median_low

from sdcpc_core.data.dataset import FrameRecord, Layout
from sdcpc_core.data.files import BadFileError, MaskIds, images_in, without_images, without_masks
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet, label_set_of

SPLITS = ("train", "val", "test")
NUM_CLASSES = 124
VOID = {0, 255}
"""0 is "others", 255 void; neither is trained or scored."""
RATE_HZ = 15
NAMES_FILE = "label_num_dic_final.json"
"""A mapping of each class name to its value in the masks, a number or its digits as text."""
MOVING = {
    *("person", "car", "bus", "truck", "bicycle", "motorcycle", "wheeled_machine", "ship_or_boat", "raft", "airplane"),
    *("train", "cat", "dog", "horse", "cattle", "other_animal"),
}


def vspw_layout(root: Path, split: str, *, needs_labels: bool = True) -> Layout:
    """Find the frames of one split.

    Raises:
        ConfigError: no such split.
        InputError: the list of clips is missing or empty, or the file of class names is broken.
    """
    if split not in SPLITS:
        raise ConfigError(f"VSPW has no split {split!r}; choose from {', '.join(SPLITS)}")
    clip_list = root / f"{split}.txt"
    if not clip_list.is_file():
        raise InputError(f"{clip_list} is not there; give the folder that holds {split}.txt and data/ as the root")
    lines = clip_list.read_text(encoding="utf-8", errors="replace").splitlines()
    clips = sorted({line.strip() for line in lines if line.strip()})
    if not clips:
        raise InputError(f"{clip_list} names no clip; copy or download it again")
    with_masks = needs_labels or any((root / "data" / clip / "mask").is_dir() for clip in clips)
    records: list[FrameRecord] = []
    faults: list[BadFileError] = []
    for clip in clips:
        clip_records, clip_faults = _clip(root / "data" / clip, with_masks)
        records += clip_records
        faults += clip_faults
    return Layout(
        title=f"VSPW {split}",
        labels=label_set(root),
        mask_ids=MaskIds.from_void(NUM_CLASSES, VOID, strays_are_void=True),
        records=records,
        faults=faults,
        terms="by the terms of VSPW",
    )


def label_set(root: Path) -> LabelSet:
    """The 124 classes, by the names of ``NAMES_FILE``, or numbered where that is not there.

    Raises:
        InputError: the file is broken or does not name each of 1..124 once.
    """
    file = root / NAMES_FILE
    if not file.is_file():
        return label_set_of([f"class {value}" for value in range(1, NUM_CLASSES + 1)], name="vspw")
    try:
        name_of = {int(value): str(name) for name, value in json.loads(file.read_bytes()).items()}
        names = [name_of[value] for value in range(1, NUM_CLASSES + 1)]
    except (ValueError, TypeError, AttributeError, KeyError) as err:
        raise InputError(
            f"{file} does not name the classes 1..{NUM_CLASSES} ({err!r}); copy or download it again, or remove it for "
            "numbered names"
        ) from err
    return replace(label_set_of(names, name="vspw"), dynamic=tuple(name for name in names if name in MOVING))


def _clip(folder: Path, with_masks: bool) -> tuple[list[FrameRecord], list[BadFileError]]:
    faults = [
        BadFileError(f"{part} is not a folder; copy or download the clip again", fault=f"clips without {part.name}/")
        for part in (folder / "origin", folder / "mask")[: 1 + with_masks]
        if not part.is_dir()
    ]
    if faults:
        return [], faults
    images = images_in(folder / "origin")
    masks = images_in(folder / "mask") if with_masks else {}
    strange = next((path for path in images.values() if not path.stem.isdecimal()), None)
    if strange is not None:
        raise InputError(f"{strange} is not named by its frame number, e.g. 00000001.jpg")
    if with_masks:
        faults += without_masks(images, masks, folder / "mask") + without_images(masks, images)
    # Clips count by one or by more; the usual step is one frame at 15 Hz, so that a missing frame leaves a gap.
    steps = [later - earlier for earlier, later in pairwise(map(int, images))]
    step = median_low(steps) if steps else 1
    records = [
        FrameRecord(
            name=f"{folder.name}/{stem}",
            sequence=folder.name,
            stamp_ns=int(stem) * 1_000_000_000 // (RATE_HZ * step),
            image_path=path,
            mask_path=masks.get(stem),
        )
        for stem, path in images.items()
    ]
    return records, faults
