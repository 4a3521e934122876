"""What ``sdcpc evaluate --out`` wrote, read again to stand beside other evaluations."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.evaluation.folder import labels_folder, stored_passes, sums_file
from sdcpc_core.metrics.scores import Scores
from sdcpc_core.report import FORMAT_VERSION

NEEDED = ("frames", "working_size_hw", "device_name", "params", "macs", "stream")
"""What a report tells since evaluations can be compared."""


@dataclass(frozen=True)
class StoredPass:
    """One pass of one model over a split.

    Attributes:
        title: how the command line named it, ``FOLDER`` or ``FOLDER:PASS``.
        folder: where it lies.
        run: name of the pass.
        report: its ``report.json``.
        results: the part of the report that is of this pass.
        scores: its sums.
        labels: folder of its label maps, one PNG per labelled frame; None where they were not kept.
    """

    title: str
    folder: Path
    run: str
    report: Mapping[str, Any]
    results: Mapping[str, Any]
    scores: Scores
    labels: Path | None

    @property
    def split(self) -> str:
        """Kind of the data set and its split, such as ``"camvid val"``."""
        config = self.report["config"]
        return f"{config['data']} {config['split']}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, (K,)."""
        return tuple(self.results["IoU"])


@dataclass(frozen=True)
class Group:
    """Evaluations of one model, trained once or with several seeds.

    Attributes:
        name: for people.
        members: at least one.
    """

    name: str
    members: tuple[StoredPass, ...]


def read_groups(texts: Sequence[str], names: Sequence[str] | None) -> list[Group]:
    """Read what is to be compared.

    Args:
        texts: a group each: ``FOLDER`` or ``FOLDER:PASS``, or several of them between commas.
        names: one per group; by default they follow from the folders.

    Raises:
        ConfigError: there are fewer than two groups, or their names are too few, too many or the same.
        InputError: a folder is no evaluation, has no such pass, or is not of the frames of the others.
    """
    if len(texts) < 2:
        raise ConfigError(f"there is only {' '.join(texts)}; give two evaluations or more, or FOLDER and FOLDER:self")
    if names and len(names) != len(texts):
        raise ConfigError(f"--names has {len(names)} names for {len(texts)} evaluations; give one each")
    members = [tuple(map(read_pass, _parts(text))) for text in texts]
    names = names or _names(members)
    if len(set(names)) < len(names):
        raise ConfigError(f"two evaluations are both called {_repeated(names)!r}; tell them apart with --names")
    check_comparable(list(chain.from_iterable(members)))
    return [Group(name, evaluations) for name, evaluations in zip(names, members, strict=True)]


def read_pass(text: str) -> StoredPass:
    """Read one pass of a folder.

    Args:
        text: ``FOLDER``, for its main pass (with references, where there is one), or ``FOLDER:PASS``.

    Raises:
        InputError: the folder is no evaluation of this version, a file of it is broken, or it has no such pass.
    """
    folder, _, run = (text, "", "") if Path(text).is_dir() else text.rpartition(":")
    folder = Path(folder or text)
    try:
        report = json.loads((folder / "report.json").read_bytes())
        version, *_ = report["format_version"], report["config"]["split"], report["self"]["IoU"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder} holds no evaluation; give a folder that sdcpc evaluate --out wrote") from None
    if version != FORMAT_VERSION:
        raise InputError(f"{folder} is an evaluation of format {version}, not {FORMAT_VERSION}; evaluate again")
    if absent := [key for key in NEEDED if key not in report]:
        raise InputError(f"{folder} is an older evaluation that does not tell {', '.join(absent)}; evaluate again")
    runs = stored_passes(folder)
    main = "references" if "references" in runs else "self"
    run = run or main
    if run not in runs:
        raise InputError(f"{folder} has no pass {run!r}; it has {', '.join(runs) or 'none, so evaluate again'}")
    results, labels = report if run == main else report[run], labels_folder(folder, run, main=main)
    scores = _scores(sums_file(folder, run))
    return StoredPass(text, folder, run, report, results, scores, labels if labels.is_dir() else None)


def check_comparable(evaluations: Sequence[StoredPass]) -> None:
    """Refuse evaluations of other frames or classes than the first's.

    Raises:
        InputError: naming what differs.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        pair = f"{first.title} and {other.title}"
        if other.split != first.split:
            raise InputError(f"{pair} are of different splits, {first.split} and {other.split}; compare like with like")
        if other.class_names != first.class_names:
            raise InputError(f"{pair} are of different classes; compare evaluations of one label set")
        if not np.array_equal(first.scores.blocks["labels"][:, 1], other.scores.blocks["labels"][:, 1]):
            frames = first.report["frames"], other.report["frames"]
            counts = f" ({frames[0]} and {frames[1]})" if frames[0] != frames[1] else ""
            raise InputError(f"{pair} are not of the same frames{counts}; evaluate both on the same copy of the data")


def _scores(path: Path) -> Scores:
    try:
        with np.load(path) as file:
            scores = Scores(dict(file))
        scores.figures()
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as err:
        raise InputError(f"{path} is broken ({err}); evaluate again") from err
    return scores


def _parts(text: str) -> list[str]:
    # A folder may have a comma in its name.
    return [text] if Path(text).is_dir() else [part for part in text.split(",") if part] or [text]


def _names(groups: Sequence[Sequence[StoredPass]]) -> list[str]:
    """The shortest ends of the paths of folders that differ, or their passes; alike only for the same twice."""
    firsts = [group[0] for group in groups]
    paths = [evaluation.folder.resolve().parts for evaluation in firsts]
    lengths = range(1, max(map(len, paths)) + 1)
    length = next(n for n in lengths if len({path[-n:] for path in paths}) == len(set(paths)))
    ends = ["/".join(path[-length:]) for path in paths]
    names = [f"{end}:{of.run}" if ends.count(end) > 1 else end for end, of in zip(ends, firsts, strict=True)]
    if len(set(ends)) == 1:
        names = [of.run for of in firsts]
    return [f"{name} +{len(group) - 1}" if len(group) > 1 else name for name, group in zip(names, groups, strict=True)]


def _repeated(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
