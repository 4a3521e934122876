"""Cityscapes: its video snippets, of whose 30 frames the 20th is labelled, or its labelled images alone."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from sdcpc_core.data.dataset import FrameRecord, Layout
from sdcpc_core.data.files import MASK_VALUES, UNLABELLED, MaskIds, without_images, without_masks
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import CITYSCAPES

SPLITS = ("train", "val", "test")
RATE_HZ = 17
"""Of the snippets; file names count their frames."""
SNIPPET_FRAMES = 30
LABELLED_FRAME = 19
"""The labelled frame of a snippet, counted from 0."""
TRAIN_ID_OF_LABEL_ID = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12},
    **{26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18},
}
"""The 19 classes among the 34 ids of the full annotation; all others are void in the benchmark."""
LABEL_IDS = 34


def cityscapes_layout(root: Path, split: str, *, needs_labels: bool = True) -> Layout:
    """Find the frames of one split.

    Pictures are those of ``leftImg8bit_sequence`` where it is there, of ``leftImg8bit`` otherwise; masks are
    ``gtFine/<split>/<city>/*_gtFine_labelTrainIds.png``, or ``*_labelIds.png`` where there are more of those.

    Raises:
        ConfigError: no such split.
        InputError: the folders are not there or empty, or a picture has a strange name.
    """
    if split not in SPLITS:
        raise ConfigError(f"Cityscapes has no split {split!r}; choose from {', '.join(SPLITS)}")
    image_dir = next(
        (root / name / split for name in ("leftImg8bit_sequence", "leftImg8bit") if (root / name / split).is_dir()),
        root / "leftImg8bit" / split,
    )
    mask_dir = root / "gtFine" / split
    for folder in (image_dir, mask_dir)[: 1 + needs_labels]:
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder; Cityscapes has gtFine/{split}/ and leftImg8bit_sequence/{split}/ or "
                f"leftImg8bit/{split}/"
            )
    images = {_frame(path, "_leftImg8bit"): path for path in sorted(image_dir.glob("*/[!.]*_leftImg8bit.png"))}
    if not images:
        raise InputError(f"{image_dir} holds no <city>/<city>_<sequence>_<frame>_leftImg8bit.png")
    # A conversion to train ids that broke off must not take labels away.
    kinds = ("labelTrainIds", "labelIds")
    found = ((kind, sorted(mask_dir.glob(f"*/[!.]*_gtFine_{kind}.png"))) for kind in kinds)
    kind, mask_paths = max(found, key=lambda masks: len(masks[1]))
    masks = {_frame(path, f"_gtFine_{kind}"): path for path in mask_paths}
    faults = without_images(masks, images)
    is_snippets = image_dir.parent.name == "leftImg8bit_sequence"
    if not is_snippets and (needs_labels or masks):
        faults += without_masks(images, masks, mask_dir)
    records, targets = _records(images, masks), None
    if not needs_labels and (split == "test" or not masks):
        # The masks of test are void, but tell which frames are asked for.
        targets = [index for index, record in enumerate(records) if record.mask_path]
        records = [replace(record, mask_path=None) for record in records]
        if is_snippets and not targets:
            targets = _labelled_of_snippets(records)
    return Layout(
        title=f"Cityscapes {split}",
        labels=CITYSCAPES,
        mask_ids=_train_ids() if kind == "labelTrainIds" else _label_ids(),
        records=records,
        faults=faults,
        terms="by the terms of Cityscapes",
        targets=targets or None,
    )


def _labelled_of_snippets(records: Sequence[FrameRecord]) -> list[int]:
    by_sequence = groupby(range(len(records)), key=lambda index: records[index].sequence)
    snippets = (list(indices) for _, indices in by_sequence)
    return [index for indices in snippets for index in indices[LABELLED_FRAME::SNIPPET_FRAMES]]


def _records(images: dict[tuple[str, str, str], Path], masks: dict[tuple[str, str, str], Path]) -> list[FrameRecord]:
    # Some cities count through one long drive, of which snippets are left: a sequence ends where numbers jump.
    records = []
    runs = groupby(enumerate(images), key=lambda item: (*item[1][:2], int(item[1][2]) - item[0]))
    for _, run in runs:
        frames = [frame for _, frame in run]
        sequence = "_".join(frames[0])
        for frame in frames:
            stamp_ns = int(frame[2]) * 1_000_000_000 // RATE_HZ
            records.append(FrameRecord("_".join(frame), sequence, stamp_ns, images[frame], masks.get(frame)))
    return records


def _frame(path: Path, ending: str) -> tuple[str, str, str]:
    name = re.fullmatch(r"(.+)_(\d+)_(\d+)", path.stem.removesuffix(ending))
    if name is None:
        raise InputError(f"{path} is not named <city>_<sequence>_<frame>{ending}.png")
    return name[1], name[2], name[3]


def _train_ids() -> MaskIds:
    return MaskIds.from_void(CITYSCAPES.num_classes, {UNLABELLED})


def _label_ids() -> MaskIds:
    table = np.full(MASK_VALUES, UNLABELLED, np.uint8)
    table[list(TRAIN_ID_OF_LABEL_ID)] = list(TRAIN_ID_OF_LABEL_ID.values())
    known = np.arange(MASK_VALUES) < LABEL_IDS
    # The licence plate, id -1, wraps around to 255.
    known[UNLABELLED] = True
    return MaskIds(table, known, f"0..{LABEL_IDS - 1}")
