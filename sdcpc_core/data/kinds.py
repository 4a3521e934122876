"""The kinds of data sets, by name."""

from collections.abc import Callable
from pathlib import Path

from sdcpc_core.data.camvid import camvid_layout
from sdcpc_core.data.cityscapes import cityscapes_layout
from sdcpc_core.data.dataset import DataSet, Layout
from sdcpc_core.data.folder import folder_layout
from sdcpc_core.data.vspw import vspw_layout
from sdcpc_core.errors import InputError

LAYOUTS: dict[str, Callable[..., Layout]] = {
    "camvid": camvid_layout,
    "cityscapes": cityscapes_layout,
    "vspw": vspw_layout,
    "folder": folder_layout,
}
"""How each kind lies on disk: a function of the root, the name of the split, and whether that needs labels."""


PLACES = {
    "camvid": ("{}", "{}.txt", "annotations/{}.txt"),
    "cityscapes": ("gtFine/{}",),
    "vspw": ("{}.txt",),
    "folder": ("images/{}",),
}
"""What shows that a split is there."""
UNPUBLISHED = {"cityscapes": "test", "vspw": "test"}
"""Splits whose labels nobody has."""


def find_splits(kind: str, root: str | Path) -> list[str]:
    """The splits of a data set that are there, without those whose labels are not published.

    Raises:
        InputError: there is none.
    """
    root = Path(root)
    names = ["train", "val", "test"]
    if kind == "folder" and (root / "images").is_dir():
        names = sorted(path.name for path in (root / "images").iterdir() if path.is_dir())
    found = [
        name
        for name in names
        if name != UNPUBLISHED.get(kind) and any((root / place.format(name)).exists() for place in PLACES[kind])
    ]
    if not found:
        wanted = " or ".join(place.format("train") for place in PLACES[kind])
        raise InputError(f"{root} holds no {wanted}; give the root folder of the data set, and its kind as --data")
    return found


def open_data_set(kind: str, root: str | Path, split: str, *, needs_labels: bool = True) -> DataSet:
    """Open one split of a data set.

    Args:
        kind: one of ``LAYOUTS``.
        root: its folder.
        split: ``"train"``, ``"val"`` or ``"test"``; a ``"folder"`` may have others.
        needs_labels: refuse a split whose masks are not there, not one of them, or are not published.

    Raises:
        ConfigError: no such split, or a label file that describes no label set.
        InputError: a folder or file is missing, or no frame is labelled.
    """
    return DataSet(LAYOUTS[kind](Path(root), split, needs_labels=needs_labels), needs_labels=needs_labels)
