"""CamVid in its two editions, which number the same classes differently.

SegNet's edition has 0..10 and 11 for void; the 12-class edition has 0 for void and the same classes from 1 on. Their
masks hold the same numbers, so the road tells them apart: nothing else fills the lower half of CamVid's pictures.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sdcpc_core.data.dataset import FrameRecord, Layout
from sdcpc_core.data.files import (
    MASK_VALUES,
    UNLABELLED,
    BadFileError,
    MaskIds,
    images_in,
    read_mask,
    without_images,
    without_masks,
)
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import CAMVID

SPLITS = ("train", "val", "test")
VOID_OF_EDITION = {"SegNet edition": 11, "12-class edition": 0}
ROAD = CAMVID.names.index("Road")
EDITION_MASKS = 24
"""So many masks, evenly spread over a split, tell the edition."""
NUMBERING_HZ = 30
"""File numbers count the frames of the original 30 Hz video."""
TERMS = "for research use"


def camvid_layout(root: Path, split: str, *, needs_labels: bool = True) -> Layout:
    """Find the frames of one split.

    Two ways to lay them out: ``<split>/`` beside ``<split>annot/`` or ``<split>_labels/``; or ``images/`` beside
    ``labels/`` with the names of the split in ``<split>.txt`` or ``annotations/<split>.txt``. A mask has the name of
    its image, or that with ``_L``.

    Raises:
        ConfigError: no such split.
        InputError: the folders are not there, or the masks do not tell which edition they are of.
    """
    if split not in SPLITS:
        raise ConfigError(f"CamVid has no split {split!r}; choose from {', '.join(SPLITS)}")
    images, mask_dir = _images(root, split, needs_labels)
    found = images_in(mask_dir).values() if mask_dir.is_dir() else ()
    masks = {path.stem.removesuffix("_L"): path for path in found}
    if not needs_labels and masks.keys().isdisjoint(images):
        return Layout(
            title=f"CamVid {split}",
            labels=CAMVID,
            mask_ids=MaskIds.from_void(CAMVID.num_classes, {UNLABELLED}),
            records=_records(images, {}),
            terms=TERMS,
        )
    # The folder labels/ is of all splits.
    strays = without_images(masks, images) if mask_dir.name != "labels" else []
    records = _records(images, masks)
    mask_paths = [record.mask_path for record in records if record.mask_path]
    edition = find_edition(mask_paths[:: 1 + len(mask_paths) // EDITION_MASKS])
    void = {VOID_OF_EDITION[edition], UNLABELLED}
    return Layout(
        title=f"CamVid ({edition}) {split}",
        labels=CAMVID,
        mask_ids=MaskIds.from_void(CAMVID.num_classes, void),
        records=records,
        faults=without_masks(images, masks, mask_dir) + strays,
        terms=TERMS,
    )


def find_edition(mask_paths: Iterable[Path]) -> str:
    """Tell the edition of masks by their road, one of ``VOID_OF_EDITION``; SegNet's where no mask can be read.

    Raises:
        InputError: the lower halves hold mostly something else than the road of either edition.
    """
    counts = np.zeros(MASK_VALUES, np.int64)
    for path in mask_paths:
        try:
            mask = read_mask(path)
        except BadFileError:
            continue  # told when the frame is read
        counts += np.bincount(mask[len(mask) // 2 :].ravel(), minlength=MASK_VALUES)
    commonest = int(counts.argmax())
    if commonest == ROAD or not counts.any():
        return "SegNet edition"
    if commonest == ROAD + 1:
        return "12-class edition"
    raise InputError(
        f"{path.parent} is of no known edition of CamVid: the lower halves of its masks hold mostly id {commonest}, "
        f"but road is {ROAD} in SegNet's edition (void 11) and {ROAD + 1} in the 12-class edition (void 0); "
        "describe the ids yourself and use --data folder"
    )


def _images(root: Path, split: str, needs_labels: bool) -> tuple[dict[str, Path], Path]:
    for name in (f"{split}.txt", f"annotations/{split}.txt"):
        if (root / "images").is_dir() and (root / "labels").is_dir() and (root / name).is_file():
            return _listed(root / name, images_in(root / "images")), root / "labels"
    places = [root / f"{split}{ending}" for ending in ("annot", "_labels")]
    mask_dir = next((place for place in places if place.is_dir()), places[0])
    for folder in (root / split, mask_dir)[: 1 + needs_labels]:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; CamVid in SegNet's layout has {split}/ and {split}annot/")
    images = images_in(root / split)
    if not images:
        raise InputError(f"{root / split} holds no .png or .jpg images")
    return images, mask_dir


def _listed(file: Path, images: dict[str, Path]) -> dict[str, Path]:
    # Lines are names, or paths of images with or without those of their masks.
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [Path(re.split(r"[\s,]", line.strip())[0]).stem for line in lines if line.strip()]
    missing = [name for name in names if name not in images]
    if missing or not names:
        what = f"names {missing[0]}, which is not in images/" if missing else "is empty"
        raise BadFileError(f"{file} {what}; complete the copy", fault="missing images", path=file)
    return {name: images[name] for name in names}


def _records(images: dict[str, Path], masks: dict[str, Path]) -> list[FrameRecord]:
    records = (_record(path, masks.get(name)) for name, path in images.items())
    return sorted(records, key=lambda record: (record.sequence, record.stamp_ns))


def _record(image_path: Path, mask_path: Path | None) -> FrameRecord:
    # Both "0016E5_07959" and "0006R0_f02640" occur.
    name = re.fullmatch(r"(.+)_f?(\d+)", image_path.stem)
    if name is None:
        raise InputError(f"{image_path} is not named <sequence>_<frame number>, e.g. 0016E5_07959.png")
    stamp_ns = int(name[2]) * 1_000_000_000 // NUMBERING_HZ
    return FrameRecord(image_path.stem, name[1], stamp_ns, image_path, mask_path)
