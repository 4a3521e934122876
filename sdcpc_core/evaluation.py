"""The command ``sdcpc evaluate``: how well and how steadily weights label the video of a data set."""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments
from sdcpc_core.errors import ConfigError
from sdcpc_core.metrics import ConfusionMatrix, VideoConsistency, video_consistency

if TYPE_CHECKING:
    from rich.table import Table

    from sdcpc_core.data.camvid import CamVid
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.streaming import Segmenter

WINDOWS = (8, 16)
VIDEO_SPACING_S = 0.1
"""Frames further apart than this are no video: t-3 and t-6 would show another place."""


@dataclass(frozen=True)
class Scores:
    """What one pass over a split measured.

    Attributes:
        confusion: of all frames.
        consistency: by window length; empty where the frames are no video.
    """

    confusion: ConfusionMatrix
    consistency: dict[int, VideoConsistency]

    def figures(self) -> dict[str, float]:
        """All figures under the keys of reports, in percent; NaN where nothing was measured."""
        confusion = self.confusion
        exact = {f"mVC{window}": measured.exact for window, measured in self.consistency.items()}
        strict = {f"mVC{window}_strict": measured.strict for window, measured in self.consistency.items()}
        means = {"mIoU": confusion.mIoU(), "WIoU": confusion.WIoU(), "pixel_accuracy": confusion.pixel_accuracy()}
        return {**means, **exact, **strict}

    def to_dict(self, labels: "LabelSet") -> dict[str, Any]:
        """The figures and the IoU of each class, for JSON; None where nothing was measured."""
        iou = dict(zip(labels.names, self.confusion.iou_per_class(), strict=True))
        return {**_rounded(self.figures()), "IoU": _rounded(iou)}


def evaluate(argv: list[str]) -> None:
    """Measure weights on a data set, with references and without."""
    arguments = _parse(argv)

    import torch
    from rich.console import Console
    from rich.progress import track

    from sdcpc_core.data.camvid import CamVid
    from sdcpc_core.output import check_output
    from sdcpc_core.report import run_facts, write_report
    from sdcpc_core.streaming import Segmenter

    if arguments.out:
        check_output(arguments.out, overwrite=arguments.overwrite)
    # Trained weights hold subnormal floats, which slow some CPUs down many times over.
    torch.set_flush_denormal(True)
    segmenter = Segmenter.from_checkpoint(arguments.checkpoint, device=arguments.device, precision=arguments.precision)
    data = CamVid(arguments.root, arguments.split)
    check_labels(segmenter.labels)
    spacing_s = data.spacing_s()
    is_video = spacing_s <= VIDEO_SPACING_S
    offsets = arguments.references if is_video else ()

    def progress(name: str) -> Iterable[int]:
        return track(range(len(data)), name, console=Console(stderr=True))

    runs = {}
    if offsets:
        runs["references"] = run(segmenter, data, progress("with references"), reference_offsets=offsets)
    runs["self"] = run(segmenter, data, progress("each frame its own reference"), reference_offsets=())
    scores = {name: score(data, label_maps, segmenter.labels, is_video) for name, label_maps in runs.items()}
    main = scores.get("references", scores["self"])

    print(f"CamVid {arguments.split}: {len(data)} frames, unlabelled pixels ignored, {segmenter.device}")
    if not is_video:
        print(f"The frames lie {spacing_s:.1f} s apart and are no video: each frame is its own reference.")
    Console().print(_table(scores, segmenter.labels))
    report = {
        **run_facts(vars(arguments)),
        "device": str(segmenter.device),
        "frames": len(data),
        "reference_offsets": list(offsets),
        **main.to_dict(segmenter.labels),
        "self": scores["self"].to_dict(segmenter.labels),
    }
    if arguments.json:
        write_report(arguments.json, report)
    if arguments.out:
        _write_folder(arguments, report, data, runs.get("references", runs["self"]))


def run(
    segmenter: "Segmenter", data: "CamVid", indices: Iterable[int], *, reference_offsets: Sequence[int]
) -> list[np.ndarray]:
    """Label the frames of a split, one stream per sequence.

    Args:
        segmenter: the network.
        data: the split.
        indices: of the frames, all of them in order.
        reference_offsets: how many frames before the target its references lie; none for the frame itself.

    Returns:
        One (H, W) label map per frame.
    """
    label_maps, sequence, stream = [], None, None
    for index in indices:
        frame = data[index]
        if frame.sequence != sequence:
            sequence, stream = frame.sequence, segmenter.stream(reference_offsets=reference_offsets)
        # A stream takes the stamp 0 for an unknown one, and some sequences start there.
        label_maps.append(stream.step(frame.image, frame.stamp_ns + 1).label_map)
    return label_maps


def score(data: "CamVid", label_maps: Sequence[np.ndarray], labels: "LabelSet", is_video: bool) -> Scores:
    """Compare label maps with the ground truth of their frames."""
    confusion = ConfusionMatrix(labels.num_classes, labels.ignore_index)
    clips = []
    for _, group in groupby(range(len(data)), key=lambda index: data.records[index].sequence):
        indices = list(group)
        truths = [data.records[index].read_label_map() for index in indices]
        for index, truth in zip(indices, truths, strict=True):
            confusion.update(label_maps[index], truth)
        clips.append((np.stack([label_maps[index] for index in indices]), np.stack(truths)))
    windows = WINDOWS if is_video else ()
    return Scores(confusion, {n: video_consistency(clips, n, labels.ignore_index) for n in windows})


def check_labels(labels: "LabelSet") -> None:
    """Refuse weights whose classes are not the data set's.

    Raises:
        ConfigError: the names differ.
    """
    from sdcpc_core.labels import CAMVID

    if labels.names != CAMVID.names:
        raise ConfigError(
            f"the checkpoint's label set {labels.name!r} has {labels.num_classes} classes that are not CamVid's; "
            "evaluate weights trained on CamVid"
        )


def _table(scores: dict[str, Scores], labels: "LabelSet") -> "Table":
    from rich.table import Table

    table = Table("percent")
    for name in scores:
        table.add_column(name, justify="right")
    figures = {name: scored.figures() for name, scored in scores.items()}
    for key in figures["self"]:
        table.add_row(key, *(_shown(figures[name][key]) for name in scores))
    table.add_section()
    iou = {name: scored.confusion.iou_per_class() for name, scored in scores.items()}
    for index, label in enumerate(labels.names):
        table.add_row(f"IoU {label}", *(_shown(iou[name][index]) for name in scores))
    return table


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _rounded(figures: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else round(float(value), 2) for key, value in figures.items()}


def _write_folder(
    arguments: argparse.Namespace, report: dict[str, Any], data: "CamVid", label_maps: Sequence[np.ndarray]
) -> None:
    import cv2

    from sdcpc_core.output import atomic_output
    from sdcpc_core.report import write_report

    with atomic_output(arguments.out, overwrite=arguments.overwrite) as draft:
        (draft / "labels").mkdir(parents=True)
        write_report(draft / "report.json", report)
        for record, label_map in zip(data.records, label_maps, strict=True):
            cv2.imwrite(str(draft / "labels" / f"{record.image_path.stem}.png"), label_map)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc evaluate", description=evaluate.__doc__)
    add_segmenter_arguments(parser)
    parser.add_argument("--data", choices=["camvid"], required=True, help="layout of the data set")
    parser.add_argument("--root", metavar="DIR", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", default="val", help="train, val or test (default: %(default)s)")
    parser.add_argument(
        "--references", metavar="N", type=int, nargs="+", default=(3, 6), help="frames before the target (default: 3 6)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="write report.json and the label maps here")
    add_output_arguments(parser)
    return parser.parse_args(argv)
