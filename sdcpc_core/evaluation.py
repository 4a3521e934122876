"""The command ``sdcpc evaluate``: how well and how steadily weights label the video of a data set."""

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments
from sdcpc_core.errors import ConfigError

if TYPE_CHECKING:
    from sdcpc_core.data.dataset import FrameRecord, LabelledFrame
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.metrics import Scores
    from sdcpc_core.streaming import Segmenter

RUNS = {"references": "with references", "self": "each frame its own reference"}


def evaluate(argv: list[str]) -> None:
    """Measure weights on a data set, with references and without."""
    arguments = _parse(argv)

    import torch
    from rich.console import Console

    from sdcpc_core.bootstrap import differences
    from sdcpc_core.cost import model_cost
    from sdcpc_core.data.kinds import open_data_set
    from sdcpc_core.evaluation_report import definitions, figures_table, gains_report, notes, results
    from sdcpc_core.output import atomic_output, check_output, output_errors
    from sdcpc_core.progress import progress
    from sdcpc_core.report import check_report, device_name, holds_report, json_text, run_facts, write_report
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
    size_hw = segmenter.working_size(data[data.labelled[0]].image.shape[:2])
    runs = {"references": references, "self": ()} if references else {"self": ()}
    main, *_ = runs
    scores, step_ms = {}, {name: [] for name in runs}
    out = nullcontext()
    if arguments.out:
        out = atomic_output(arguments.out, overwrite=arguments.overwrite, is_ours=holds_report)
    with out as folder:
        for name, offsets in runs.items():
            indices = data.around_labels(max(offsets, default=0))
            with progress(indices, RUNS[name]) as shown:
                frames = (data[index] for index in shown)
                labelled = label(segmenter, frames, reference_offsets=offsets, step_ms=step_ms[name])
                if folder and name == main:
                    records = [data.records[index] for index in indices]
                    labelled = _written(labelled, records, folder / "labels", arguments.out)
                scores[name] = score(labelled, segmenter.labels, is_video=is_video, with_flow=arguments.flow)

        hardware = device_name(segmenter.device)
        print(f"{data.title}: {len(data.labelled)} labelled frames, unlabelled pixels ignored, {hardware}")
        if not data.is_video:
            spacing = f"lie {data.spacing_s():.1f} s apart" if math.isfinite(data.spacing_s()) else "stand alone"
            print(f"The frames {spacing} and are no video: each frame is its own reference.")
        names, cost = segmenter.labels.names, model_cost(segmenter.model, size_hw)
        gains = differences(scores[main], scores["self"]) if references else {}
        console = Console(highlight=False)
        console.print(figures_table(scores, names, step_ms, gains))
        console.print(notes(scores[main], cost, gains), style="dim")
        found = {name: results(scores[name], names, step_ms[name]) for name in runs}
        report = {
            **run_facts(vars(arguments)),
            "device": str(segmenter.device),
            "device_name": hardware,
            "frames": len(data.labelled),
            "reference_offsets": list(references),
            "working_size_hw": list(size_hw),
            **cost.total.to_dict(),
            **definitions(scores[main]),
            **found[main],
            "self": found["self"],
        }
        if gains:
            report["references_minus_self"] = gains_report(gains, len(scores[main].blocks["labels"]))
        if folder:
            with output_errors(arguments.out):
                for name, scored in scores.items():
                    np.savez_compressed(folder / f"blocks_{name}.npz", **scored.blocks)
                (folder / "report.json").write_text(json_text(report), encoding="utf-8")
    if arguments.json:
        write_report(arguments.json, report)


def label(
    segmenter: "Segmenter",
    frames: "Iterable[LabelledFrame]",
    *,
    reference_offsets: Sequence[int],
    step_ms: list[float],
) -> "Iterator[tuple[LabelledFrame, np.ndarray]]":
    """Label the frames of a split, one stream per sequence.

    Args:
        segmenter: the network.
        frames: of a split, in order; for each target, those its references may be.
        reference_offsets: how many frames before the target its references lie; none for the frame itself.
        step_ms: takes the duration of the step of each frame (ms).

    Yields:
        Each frame and its label map, (H, W).
    """
    sequence, stream = None, None
    for frame in frames:
        if frame.sequence != sequence:
            sequence, stream = frame.sequence, segmenter.stream(reference_offsets=reference_offsets)
        # A stream takes the stamp 0 for an unknown one, and some sequences start there.
        result = stream.step(frame.image, frame.stamp_ns + 1)
        step_ms.append(result.timings.total_ms)
        yield frame, result.label_map


def score(
    labelled: "Iterable[tuple[LabelledFrame, np.ndarray]]",
    labels: "LabelSet",
    *,
    is_video: bool,
    with_flow: bool = True,
) -> "Scores":
    """Compare label maps with the ground truth of their frames, one by one."""
    from sdcpc_core.metrics import Scorer

    scorer = Scorer(labels.num_classes, labels.ignore_index, with_windows=is_video, with_flow=is_video and with_flow)
    for frame, label_map in labelled:
        scorer.update(frame.image, label_map, frame.label_map, frame.sequence)
    return scorer.scores()


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
    parser.add_argument(
        "--no-flow", dest="flow", action="store_false", help="leave out TC, which needs optical flow between frames"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="write report.json, sums and the label maps here")
    add_output_arguments(parser)
    return parser.parse_args(argv)
