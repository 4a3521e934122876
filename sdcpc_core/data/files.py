"""Images and masks on disk: read, or told by name what is wrong with them."""

from collections.abc import Container, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sdcpc_core.data.palette_png import unscaled, without_palette
from sdcpc_core.errors import InputError
from sdcpc_core.video import IMAGE_SUFFIXES, natural_order

UNLABELLED = 255
"""Id of unlabelled pixels in label maps: the ignore index of every label set of at most 255 classes."""
MASK_VALUES = 256


class BadFileError(InputError):
    """A file of a data set that cannot be used.

    Attributes:
        fault: what is wrong, the same words for all files with the same fault.
        path: the file.
    """

    # One argument must do: a loader process hands its errors on by their message alone.
    def __init__(self, message: str, *, fault: str = "broken files", path: Path | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.path = path


@dataclass(frozen=True, eq=False)
class MaskIds:
    """What the values of a data set's masks mean.

    Attributes:
        table: class id of each value, ``UNLABELLED`` for void and for strays, (256,) uint8.
        known: values that the data set defines, (256,) bool.
        rule: the values in words, for error messages.
        strays_are_void: whether other values are read as void, where published copies hold some.
    """

    table: np.ndarray
    known: np.ndarray
    rule: str
    strays_are_void: bool = False

    @classmethod
    def from_void(cls, num_classes: int, void: Iterable[int], *, strays_are_void: bool = False) -> "MaskIds":
        """Classes in the order of the values that are not void, from 0 on.

        Args:
            num_classes: K; all K values must fit beside the void ones.
            void: values of unlabelled pixels.
            strays_are_void: as the attribute.
        """
        values = [value for value in range(MASK_VALUES) if value not in set(void)][:num_classes]
        table = np.full(MASK_VALUES, UNLABELLED, np.uint8)
        table[values] = np.arange(num_classes)
        known = np.isin(np.arange(MASK_VALUES), [*values, *void])
        rule = f"{values[0]}..{values[-1]} for its classes and {', '.join(map(str, sorted(void)))} for void"
        return cls(table, known, rule, strays_are_void)

    def label_map(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """Class ids of a mask: (H, W) uint8, ``UNLABELLED`` where it is void.

        Raises:
            BadFileError: it holds a value that the data set does not define.
        """
        self.check(np.flatnonzero(np.bincount(mask.ravel(), minlength=MASK_VALUES)), path)
        return self.table[mask]

    def check(self, values: np.ndarray, path: Path) -> None:
        """Refuse values that the data set does not define, unless strays are void.

        Raises:
            BadFileError: one of them is not defined.
        """
        strays = values[~self.known[values]]
        if strays.size and not self.strays_are_void:
            raise BadFileError(
                f"{path} holds id {', '.join(map(str, strays))}; the data set uses {self.rule}; correct the mask, or "
                "check which edition of the data this is",
                fault="ids outside the label set",
                path=path,
            )


def read_image(path: Path) -> np.ndarray:
    """Read an image: (H, W, 3) uint8 RGB.

    Raises:
        BadFileError: it is missing, empty, cut off or broken.
    """
    return cv2.cvtColor(_decode(path, _read(path, "image"), cv2.IMREAD_COLOR, "image"), cv2.COLOR_BGR2RGB)


def read_mask(path: Path) -> np.ndarray:
    """Read the values of a mask, grey or with a palette: (H, W) uint8.

    Raises:
        BadFileError: it is missing, empty, cut off or broken, or not one channel of at most 8 bits.
    """
    data = _read(path, "mask")
    mask = _decode(path, without_palette(data), cv2.IMREAD_UNCHANGED, "mask")
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise BadFileError(
            f"{path} is not a one-channel 8-bit PNG of class ids; colour-coded masks have to be turned into ids first",
            fault="masks that hold no class ids",
            path=path,
        )
    return unscaled(mask, data)


def _read(path: Path, what: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as err:
        raise BadFileError(
            f"{path} is not a readable {what}: {err.strerror or err}", fault=f"unreadable {what}s", path=path
        ) from err
    if not data:
        raise BadFileError(
            f"{path} is empty (0 bytes) and not a readable {what}; copy or download it again",
            fault=f"empty {what}s",
            path=path,
        )
    return data


def _decode(path: Path, data: bytes, flags: int, what: str) -> np.ndarray:
    # OpenCV fills what a cut file lacks with grey or black.
    is_cut = _is_cut(data)
    pixels = None if is_cut else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        wrong = "cut off and not a whole" if is_cut else "not a readable"
        raise BadFileError(
            f"{path} is {wrong} {what}; copy or download it again", fault=f"unreadable {what}s", path=path
        )
    return pixels


def _is_cut(data: bytes) -> bool:
    if data.startswith(b"\xff\xd8"):
        # JPEG: its end marker comes after the pixels, which begin with the other one; a thumbnail has both before them.
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-1024:]


def images_in(folder: Path) -> dict[str, Path]:
    """Images of a folder by their names without suffix, in the order of their numbers; hidden files are none.

    Raises:
        BadFileError: two images differ in nothing but the suffix.
    """
    images: dict[str, Path] = {}
    # Archives packed on a Mac hold a hidden ._name beside each file.
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    for path in sorted(found, key=natural_order):
        if path.stem in images:
            raise BadFileError(
                f"{path} and {images[path.stem].name} have the same name; remove one of them",
                fault="images of the same name",
                path=path,
            )
        images[path.stem] = path
    return images


def without_masks(images: Mapping[Hashable, Path], masks: Container[Hashable], mask_dir: Path) -> list[BadFileError]:
    """A fault for each image without a mask of its name in a folder."""
    return [
        BadFileError(
            f"{path} has no mask in {mask_dir}; add the mask or remove the image",
            fault="images without a mask",
            path=path,
        )
        for name, path in images.items()
        if name not in masks
    ]


def without_images(masks: Mapping[Hashable, Path], images: Container[Hashable]) -> list[BadFileError]:
    """A fault for each mask without an image of its name."""
    return [
        BadFileError(
            f"{path} has no image; add the image or remove the mask", fault="masks without an image", path=path
        )
        for name, path in masks.items()
        if name not in images
    ]
