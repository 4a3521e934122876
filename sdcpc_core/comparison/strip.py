"""Moments of a split, as several models see them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcpc_core.data.dataset import DataSet
from sdcpc_core.data.files import read_mask
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import LabelSet

MOMENTS = 4
CANDIDATES = 200
"""So many frames at most are looked through for the moments to show."""


@dataclass(frozen=True)
class Strip:
    """Pictures of some moments: the input, what each model made of it, the ground truth.

    Attributes:
        headings: one per column.
        captions: one per moment.
        pictures: for each moment one per column, (H, W, 3) uint8 RGB.
        labels: the classes that occur in them.
    """

    headings: Sequence[str]
    captions: Sequence[str]
    pictures: Sequence[Sequence[np.ndarray]]
    labels: LabelSet


def candidates(data: DataSet) -> list[int]:
    """Indices of the labelled frames that are looked through for the moments to show, evenly spread."""
    return data.labelled[:: -(-len(data.labelled) // CANDIDATES)]


def most_different(data: DataSet, folders: Sequence[Path], indices: Iterable[int]) -> list[int]:
    """Find the frames on which the models differ most, ``MOMENTS`` of them and spread over the split.

    Args:
        data: the split.
        folders: label maps of each model; of one model alone, what counts is where it differs from the truth.
        indices: of the labelled frames to look at, ascending.

    Returns:
        Indices of the frames, ascending.

    Raises:
        InputError: a label map is missing or broken.
    """
    differing = {index: _differing(*_truth_and_maps(data, index, folders), data) for index in indices}
    positions = {index: position for position, index in enumerate(differing)}
    # Neighbouring frames look alike.
    apart = len(differing) / (2 * MOMENTS)
    found: list[int] = []
    for index in sorted(differing, key=differing.get, reverse=True):
        if len(found) < MOMENTS and all(abs(positions[index] - positions[other]) >= apart for other in found):
            found.append(index)
    return sorted(found)


def find_frames(data: DataSet, names: Sequence[str]) -> list[int]:
    """Indices of the labelled frames of these names.

    Raises:
        ConfigError: there is no such frame.
    """
    indices = {data.records[index].name: index for index in data.labelled}
    for name in names:
        if name not in indices:
            known = list(indices)
            raise ConfigError(f"{data.title} has no labelled frame {name!r}; they are called {known[0]} to {known[-1]}")
    return [indices[name] for name in names]


def make_strip(data: DataSet, folders: Mapping[str, Path], indices: Sequence[int]) -> Strip:
    """Read the pictures of some frames.

    Args:
        data: the split.
        folders: label maps of each model, by its name.
        indices: of the frames.

    Raises:
        InputError: a file is missing or broken.
    """
    captions, pictures = [], []
    seen: set[int] = set()
    for index in indices:
        truth, label_maps = _truth_and_maps(data, index, list(folders.values()))
        share = 100 * _differing(truth, label_maps, data)
        what = "labels differ" if len(folders) > 1 else "wrong"
        captions.append(f"{data.records[index].name}: {what} on {share:.1f} % of the labelled pixels")
        pictures.append([data[index].image, *map(data.labels.colorize, [*label_maps, truth])])
        seen.update(np.unique([*label_maps, truth]).tolist())
    ids = [index for index in range(data.labels.num_classes) if index in seen]
    names, palette = data.labels.names, data.labels.palette
    shown = LabelSet(data.labels.name, tuple(names[index] for index in ids), tuple(palette[index] for index in ids))
    return Strip(["Input", *folders, "Ground truth"], captions, pictures, shown)


def _truth_and_maps(data: DataSet, index: int, folders: Sequence[Path]) -> tuple[np.ndarray, list[np.ndarray]]:
    record, truth = data.records[index], data[index].label_map
    paths = [folder / f"{record.name}.png" for folder in folders]
    label_maps = [read_mask(path) for path in paths]
    for path, label_map in zip(paths, label_maps, strict=True):
        if label_map.shape != truth.shape:
            raise InputError(f"{path} is not of the size of {record.image_path}; give the data it was made of")
    return truth, label_maps


def _differing(truth: np.ndarray, label_maps: Sequence[np.ndarray], data: DataSet) -> float:
    """Share of the labelled pixels on which not all models agree; of one model, those on which it is wrong."""
    first, *others = label_maps
    differ = np.any([other != first for other in others or [truth]], axis=0)
    labelled = truth != data.labels.ignore_index
    return np.count_nonzero(differ & labelled) / max(np.count_nonzero(labelled), 1)
