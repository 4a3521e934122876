"""Label sets: what the class ids of a model mean and how they are painted."""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sdcpc_core.errors import ConfigError


@dataclass(frozen=True)
class LabelSet:
    """The classes of a model, in the order of their ids.

    Attributes:
        name: what the set is called, e.g. ``"camvid"``.
        names: one name per class id, (K,).
        palette: one RGB colour per class id, (K, 3), 0..255.
        dynamic: names of the classes that move by themselves; SLAM masks start from these.

    Raises:
        ConfigError: names, colours and dynamic classes do not fit together.
    """

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    dynamic: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= 65535:
            raise ConfigError(f"label set {self.name!r} has {len(self.names)} classes; it needs 1 to 65535")
        for name in (self.name, *self.names):
            if not name.strip() or not name.isprintable():
                raise ConfigError(f"label set {self.name!r} has the name {name!r}; names are of printable characters")
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"label set {self.name!r} names a class twice; class names must differ")
        if len(self.palette) != len(self.names):
            raise ConfigError(
                f"label set {self.name!r} has {len(self.names)} classes but {len(self.palette)} colours; give one each"
            )
        for colour in self.palette:
            if not is_rgb(colour):
                raise ConfigError(f"label set {self.name!r}: {colour!r} is not an RGB colour of three values 0..255")
        unknown = sorted(set(self.dynamic) - set(self.names))
        if unknown:
            raise ConfigError(f"dynamic classes {unknown} are not in label set {self.name!r}: {list(self.names)}")

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.names)

    @property
    def label_dtype(self) -> type[np.unsignedinteger]:
        """Type of label maps: uint8 up to 255 classes, uint16 above."""
        return np.uint8 if self.num_classes <= 255 else np.uint16

    @property
    def ignore_index(self) -> int:
        """Id of unlabelled pixels: the largest value of ``label_dtype``."""
        return int(np.iinfo(self.label_dtype).max)

    @property
    def dynamic_ids(self) -> tuple[int, ...]:
        """Ids of the dynamic classes, ascending."""
        return tuple(i for i, name in enumerate(self.names) if name in self.dynamic)

    @cached_property
    def _colour_of_id(self) -> np.ndarray:
        # Ids outside the set, the ignore index among them, are painted black.
        table = np.zeros((self.ignore_index + 1, 3), np.uint8)
        table[: self.num_classes] = self.palette
        return table

    def colorize(self, label_map: np.ndarray) -> np.ndarray:
        """Paint class ids; ids outside the set become black.

        Args:
            label_map: (H, W) of ``label_dtype``.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        return self._colour_of_id[label_map]

    def to_dict(self) -> dict[str, Any]:
        """The set as plain lists and strings, for JSON."""
        return {
            "name": self.name,
            "names": list(self.names),
            "palette": [list(colour) for colour in self.palette],
            "dynamic": list(self.dynamic),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LabelSet":
        """Inverse of ``to_dict``.

        Raises:
            ConfigError: a key is missing or a value does not fit.
        """
        data = {"dynamic": ()} | data
        if absent := [key for key in ("name", "names", "palette") if key not in data]:
            raise ConfigError(f"not a label set: it lacks {', '.join(absent)}")
        if not isinstance(data["name"], str):
            raise ConfigError(f"not a label set: name is {reprlib.repr(data['name'])}, no text")
        for key, kind, what in (
            ("names", str, "texts"),
            ("palette", list | tuple, "colours"),
            ("dynamic", str, "texts"),
        ):
            entries = data[key]
            if not isinstance(entries, list | tuple) or not all(isinstance(entry, kind) for entry in entries):
                raise ConfigError(f"not a label set: {key} is {reprlib.repr(entries)}, no list of {what}")
        return cls(data["name"], tuple(data["names"]), tuple(map(tuple, data["palette"])), tuple(data["dynamic"]))


def is_rgb(colour: Any) -> bool:
    """Whether these are three whole numbers 0..255, as a list or tuple."""
    is_row = isinstance(colour, list | tuple) and len(colour) == 3
    return is_row and all(type(value) is int and 0 <= value <= 255 for value in colour)


CAMVID = LabelSet(
    name="camvid",
    names=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
        "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    dynamic=("Car", "Pedestrian", "Bicyclist"),
)  # fmt: skip
"""The 11 classes of CamVid in SegNet's edition, in the order of its files, with its colours."""

CITYSCAPES = LabelSet(
    name="cityscapes",
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
        (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    dynamic=("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)  # fmt: skip
"""The 19 train ids of Cityscapes with its official colours."""

LABEL_SETS = {labels.name: labels for labels in (CAMVID, CITYSCAPES)}

MOVING = {
    *("person", "human", "man", "woman", "people", "pedestrian", "child"),
    *("rider", "bicyclist", "cyclist", "motorcyclist"),
    *("vehicle", "car", "truck", "bus", "van", "minibus", "trailer", "caravan", "train", "tram", "streetcar"),
    *("motorcycle", "motorbike", "minibike", "scooter", "bicycle", "bike"),
    *("boat", "ship", "airplane", "aeroplane"),
    *("animal", "dog", "cat", "bird", "horse", "sheep", "cow"),
}
"""What moves by itself, by the names that data sets give it; lower case."""


def label_set_of(names: Sequence[str], *, name: str, palette: Any = None) -> LabelSet:
    """Make a label set of class names.

    Args:
        names: one per class id. Those of a set in ``LABEL_SETS``, in whatever case, give that set.
        name: of the set, where it is a new one. Its dynamic classes are those with a name in ``MOVING``, alone or
            between commas.
        palette: its colours; where it is anything but a list of one RGB colour per name, they are those of PASCAL
            VOC's rule, all different and none black.

    Raises:
        ConfigError: a name occurs twice, or there are too few or too many.
    """
    lower = [entry.casefold() for entry in names]
    for labels in LABEL_SETS.values():
        if lower == [entry.casefold() for entry in labels.names]:
            return labels
    is_palette = isinstance(palette, list | tuple) and len(palette) == len(names) and all(map(is_rgb, palette))
    colours = map(tuple, palette) if is_palette else (_voc_colour(index + 1) for index in range(len(names)))
    dynamic = (entry for entry in names if not MOVING.isdisjoint(map(str.strip, entry.casefold().split(","))))
    return LabelSet(name, tuple(names), tuple(colours), tuple(dynamic))


def _voc_colour(index: int) -> tuple[int, int, int]:
    """Spread the bits of an index over red, green and blue, the lowest bits first and into the highest places."""
    colour = [0, 0, 0]
    for position in range(8):
        for channel in range(3):
            colour[channel] |= (index >> (3 * position + channel) & 1) << (7 - position)
    return tuple(colour)
