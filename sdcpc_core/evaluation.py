"""The command ``sdcpc evaluate``: how well and how steadily weights label the video of a data set."""

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments
from sdcpc_core.errors import ConfigError
from sdcpc_core.metrics import ConfusionMatrix, VideoConsistency, mean_consistency, video_consistency

if TYPE_CHECKING:
    from rich.table import Table

    from sdcpc_core.data.dataset import FrameRecord, LabelledFrame
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.streaming import Segmenter

WINDOWS = (8, 16)
RUNS = {"references": "with references", "self": "each frame its own reference"}


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

    from sdcpc_core.data.kinds import open_data_set
    from sdcpc_core.output import atomic_output, check_output, output_errors
    from sdcpc_core.progress import progress
    from sdcpc_core.report import check_report, holds_report, json_text, run_facts, write_report
    from sdcpc_core.streaming import Segmenter

    if arguments.out:
        check_output(arguments.out, overwrite=arguments.overwrite, is_ours=holds_report)
    check_report(arguments.json, out=arguments.out)
    # Trained weights hold subnormal floats, which slow some CPUs down many times over.
    torch.set_flush_denormal(True)
    segmenter = Segmenter.from_checkpoint(arguments.checkpoint, device=arguments.device, precision=arguments.precision)
    data = open_data_set(arguments.data, arguments.root, arguments.split)
    check_labels(segmenter.labels, data.labels)
    references = arguments.references if data.is_video and segmenter.model.reference_ages_s else ()
    if data.is_video:
        with progress(data.around_labels(max(references, default=0)), "are all frames whole") as indices:
            data.check_frames(indices)
    # Consistency is of consecutive frames, which are not all labelled in every data set.
    is_video = data.is_video and len(data.labelled) == len(data)
    runs = {"references": references, "self": ()} if references else {"self": ()}
    main, *_ = runs
    scores = {}
    out = nullcontext()
    if arguments.out:
        out = atomic_output(arguments.out, overwrite=arguments.overwrite, is_ours=holds_report)
    with out as folder:
        for name, offsets in runs.items():
            indices = data.around_labels(max(offsets, default=0))
            with progress(indices, RUNS[name]) as shown:
                labelled = label(segmenter, (data[index] for index in shown), reference_offsets=offsets)
                if folder and name == main:
                    records = [data.records[index] for index in indices]
                    labelled = _written(labelled, records, folder / "labels", arguments.out)
                scores[name] = score(labelled, segmenter.labels, is_video=is_video)

        frames = len(data.labelled)
        print(f"{data.title}: {frames} labelled frames, unlabelled pixels ignored, {segmenter.device}")
        if not data.is_video:
            spacing = f"lie {data.spacing_s():.1f} s apart" if math.isfinite(data.spacing_s()) else "stand alone"
            print(f"The frames {spacing} and are no video: each frame is its own reference.")
        Console().print(_table(scores, segmenter.labels))
        report = {
            **run_facts(vars(arguments)),
            "device": str(segmenter.device),
            "frames": frames,
            "reference_offsets": list(references),
            **scores[main].to_dict(segmenter.labels),
            "self": scores["self"].to_dict(segmenter.labels),
        }
        if folder:
            with output_errors(arguments.out):
                (folder / "report.json").write_text(json_text(report), encoding="utf-8")
    if arguments.json:
        write_report(arguments.json, report)


def label(
    segmenter: "Segmenter", frames: "Iterable[LabelledFrame]", *, reference_offsets: Sequence[int]
) -> "Iterator[tuple[LabelledFrame, np.ndarray]]":
    """Label the frames of a split, one stream per sequence.

    Args:
        segmenter: the network.
        frames: of a split, in order; for each target, those its references may be.
        reference_offsets: how many frames before the target its references lie; none for the frame itself.

    Yields:
        Each frame and its label map, (H, W).
    """
    sequence, stream = None, None
    for frame in frames:
        if frame.sequence != sequence:
            sequence, stream = frame.sequence, segmenter.stream(reference_offsets=reference_offsets)
        # A stream takes the stamp 0 for an unknown one, and some sequences start there.
        yield frame, stream.step(frame.image, frame.stamp_ns + 1).label_map


def score(labelled: "Iterable[tuple[LabelledFrame, np.ndarray]]", labels: "LabelSet", *, is_video: bool) -> Scores:
    """Compare label maps with the ground truth of their frames, holding one sequence at a time."""
    confusion = ConfusionMatrix(labels.num_classes, labels.ignore_index)
    consistency = {window: [] for window in WINDOWS if is_video}
    for _, group in groupby(labelled, key=lambda pair: pair[0].sequence):
        label_maps, truths = [], []
        for frame, label_map in group:
            confusion.update(label_map, frame.label_map)
            label_maps.append(label_map)
            truths.append(frame.label_map)
        for window, measured in consistency.items():
            clip = np.stack(label_maps), np.stack(truths)
            measured.append(video_consistency([clip], window, labels.ignore_index))
    return Scores(confusion, {window: mean_consistency(measured) for window, measured in consistency.items()})


def check_labels(labels: "LabelSet", data_labels: "LabelSet") -> None:
    """Refuse weights whose classes are not the data set's.

    Raises:
        ConfigError: the names differ.
    """
    if labels.names != data_labels.names:
        raise ConfigError(
            f"the checkpoint's label set {labels.name!r} has {labels.num_classes} classes that are not the "
            f"{data_labels.num_classes} of the data set's {data_labels.name!r}; evaluate weights trained on those"
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


def _written(
    labelled: "Iterable[tuple[LabelledFrame, np.ndarray]]", records: "Sequence[FrameRecord]", folder: Path, out: Path
) -> "Iterator[tuple[LabelledFrame, np.ndarray]]":
    """Pass label maps on and write those of labelled frames, each as a PNG of the name of its image."""
    import cv2

    from sdcpc_core.output import output_errors

    for record, (frame, label_map) in zip(records, labelled, strict=True):
        if record.mask_path:
            # OpenCV's own writing does not tell that the disk is full.
            _, png = cv2.imencode(".png", label_map)
            with output_errors(out):
                path = folder / f"{record.name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png)
        yield frame, label_map


def _parse(argv: list[str]) -> argparse.Namespace:
    from sdcpc_core.data.kinds import LAYOUTS

    parser = argparse.ArgumentParser(prog="sdcpc evaluate", description=evaluate.__doc__)
    add_segmenter_arguments(parser)
    parser.add_argument("--data", choices=LAYOUTS, required=True, help="layout of the data set")
    parser.add_argument("--root", metavar="DIR", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", default="val", help="train, val or test; a folder may have others (default: val)")
    parser.add_argument(
        "--references", metavar="N", type=int, nargs="+", default=(3, 6), help="frames before the target (default: 3 6)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="write report.json and the label maps here")
    add_output_arguments(parser)
    return parser.parse_args(argv)
