"""Data sets of a few tiny frames in the layouts that people have on disk."""

import json
from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, size_hw=(64, 96), seed=0) -> Path:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_mask(path: Path, values, size_hw=(64, 96)) -> Path:
    """Write a mask of equal vertical stripes, one for each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.asarray(values, np.uint8)[np.arange(size_hw[1]) * len(values) // size_hw[1]]
    assert cv2.imwrite(str(path), np.tile(columns, (size_hw[0], 1)))
    return path


def write_vspw(root: Path) -> Path:
    """Two clips of different width and step of numbering; 0 and 255 are void, 252 is a stray."""
    for split, clip, width, step in (("train", "1_a", 96, 1), ("val", "2_b", 80, 2)):
        for index in range(10):
            name, size_hw = f"{index * step + 5:08}", (64, width)
            write_image(root / "data" / clip / "origin" / f"{name}.jpg", size_hw, seed=index)
            write_mask(root / "data" / clip / "mask" / f"{name}.png", [0, 1, 124, 255, 252, 7], size_hw)
        (root / f"{split}.txt").write_text(f"{clip}\n")
    names = {"others": "0", **{f"thing {value}": str(value) for value in range(1, 124)}, "car": "124"}
    (root / "label_num_dic_final.json").write_text(json.dumps(names))
    return root


def write_cityscapes(root: Path, *, sequence=True, kind="labelIds") -> Path:
    """A snippet of aachen, whose numbers begin at 0, and two of one drive through frankfurt."""
    values = {"labelIds": [7, 26, 0, 33], "labelTrainIds": [0, 13, 255, 18]}[kind]
    snippets = {"train": [("aachen_000003", 0)], "val": [("frankfurt_000000", 275), ("frankfurt_000000", 557)]}
    for split, starts in snippets.items():
        for place, start in starts:
            city = place.partition("_")[0]
            for number in range(start, start + 30):
                labelled = number == start + 19
                if sequence or labelled:
                    images = root / ("leftImg8bit_sequence" if sequence else "leftImg8bit")
                    write_image(images / split / city / f"{place}_{number:06}_leftImg8bit.png", seed=number)
                if labelled:
                    write_mask(root / "gtFine" / split / city / f"{place}_{number:06}_gtFine_{kind}.png", values)
    return root


def write_camvid12(root: Path, *, lists=False) -> Path:
    """The 12-class edition: 0 is void, then SegNet's classes from 1 on, with the road in the lower half."""
    for split, names in (("train", ["0001TP_006690", "0001TP_006720"]), ("val", ["0016E5_07959", "0016E5_07961"])):
        image_dir, mask_dir = (root / "images", root / "labels") if lists else (root / split, root / f"{split}_labels")
        for name in names:
            write_image(image_dir / f"{name}.png")
            mask = np.full((64, 96), 1, np.uint8)
            mask[32:], mask[28:36, 20:30], mask[:, :2] = 4, 9, 0
            mask_dir.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(mask_dir / f"{name}_L.png"), mask)
        if lists:
            (root / "annotations").mkdir(exist_ok=True)
            (root / "annotations" / f"{split}.txt").write_text("\n".join(names))
    return root


def write_folder(root: Path, **description) -> Path:
    """A video whose every sixth frame is labelled and one picture; 0 is void, 1 floor, 2 person."""
    for split in ("train", "val"):
        for index in range(14):
            write_image(root / "images" / split / "hall" / f"frame{index}.jpg", seed=index)
            if index % 6 == 1:
                write_mask(root / "masks" / split / "hall" / f"frame{index}.png", [0, 1, 2])
        write_image(root / "images" / split / "alone.png")
        write_mask(root / "masks" / split / "alone.png", [1, 1, 1, 2])
    content = {"names": ["floor", "person"], "void": [0], "rate_hz": 20, **description}
    (root / "labels.json").write_text(json.dumps(content))
    return root


WRITERS = {"vspw": write_vspw, "cityscapes": write_cityscapes, "camvid": write_camvid12, "folder": write_folder}
"""One writer for each kind, by its name."""
