"""A CamVid of a few tiny frames: sky above road, a red car between them."""

from pathlib import Path

import cv2
import numpy as np

SKY, ROAD, CAR, VOID = 0, 3, 8, 11
COLOUR_BGR = {SKY: (220, 180, 150), ROAD: (70, 70, 70), CAR: (40, 40, 200), VOID: (0, 0, 0)}


def write_frame(root: Path, split: str, name: str, *, size_hw=(64, 96), car_x=20, suffix=".png") -> None:
    """Write one image and its mask."""
    height, width = size_hw
    mask = np.full(size_hw, SKY, np.uint8)
    mask[height // 2 :] = ROAD
    mask[height // 2 - 8 : height // 2 + 8, car_x : car_x + 24] = CAR
    mask[:, :2] = VOID
    image = np.zeros((height, width, 3), np.uint8)
    for label, colour in COLOUR_BGR.items():
        image[mask == label] = colour
    for folder, picture, ending in ((split, image, suffix), (f"{split}annot", mask, ".png")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / folder / f"{name}{ending}"), picture)


def write_camvid(root: Path) -> Path:
    """Write a data set: four training frames a second apart, seven validation frames at 15 Hz."""
    for i in range(4):
        write_frame(root, "train", f"0001TP_{6690 + 30 * i:06}", car_x=10 + 15 * i)
    for i in range(7):
        write_frame(root, "val", f"0016E5_{7959 + 2 * i:05}", car_x=10 + 5 * i)
    return root
