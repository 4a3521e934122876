"""The command ``sdcpc evaluate``: how well and how steadily weights label the video of a data set."""

import argparse
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments
from sdcpc_core.errors import ConfigError

if TYPE_CHECKING:
    from sdcpc_core.data.dataset import DataSet
    from sdcpc_core.evaluation.passes import Answer
    from sdcpc_core.evaluation.predictions import PredictionWriter
    from sdcpc_core.labels import LabelSet
    from sdcpc_core.streaming import Segmenter

REFERENCES = (3, 6)
"""Frames before the target, in a video."""
RUNS = {"references": "with references", "self": "each frame its own reference", "neighbours": "with its neighbours"}


def evaluate(argv: list[str]) -> None:
    """Measure weights on a data set, with references and without."""
    arguments = _parse(argv)

    import torch

    from sdcpc_core.checkpoint import default_checkpoint, read_header
    from sdcpc_core.data.kinds import open_data_set
    from sdcpc_core.evaluation.passes import plan
    from sdcpc_core.progress import progress
    from sdcpc_core.report import device_name, run_facts, write_report
    from sdcpc_core.streaming import Segmenter

    _check_outputs(arguments)
    # Trained weights hold subnormal floats, which slow some CPUs down many times over.
    torch.set_flush_denormal(True)
    checkpoint = arguments.checkpoint or default_checkpoint()
    segmenter = Segmenter.from_checkpoint(checkpoint, device=arguments.device, precision=arguments.precision)
    needs_labels = arguments.save_predictions is None
    data = open_data_set(arguments.data, arguments.root, arguments.split, needs_labels=needs_labels)
    check_labels(segmenter.labels, data.labels)
    if not data.labelled and arguments.out:
        raise ConfigError(f"{data.title} has no labels, so that there is nothing for --out to tell; leave it out")
    offsets = plan(data, len(segmenter.model.reference_ages_s), arguments.references, REFERENCES)
    main, *_ = offsets
    segmenter.stream(reference_offsets=offsets[main])  # refuses offsets that the model cannot take
    indices = {name: data.around_targets(max(of_pass, default=0)) for name, of_pass in offsets.items()}
    if data.is_video:
        with progress(indices[main], "are all frames whole") as shown:
            data.check_frames(shown)
    facts = {
        **run_facts(vars(arguments)),
        "command": shlex.join(["sdcpc", "evaluate", *argv]),
        "data_set": data.title,
        "model": read_header(checkpoint).model_name,
        "label_set": segmenter.labels.to_dict(),
        "device": str(segmenter.device),
        "device_name": device_name(segmenter.device),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "frames": len(data.targets),
        "reference_offsets": list(offsets[main]),
    }
    if data.labelled:
        report = _measure(arguments, segmenter, data, offsets, indices, facts)
    else:
        report = _predict(arguments, segmenter, data, offsets[main], indices[main], facts)
    if arguments.json:
        write_report(arguments.json, report)


def _measure(
    arguments: argparse.Namespace,
    segmenter: "Segmenter",
    data: "DataSet",
    offsets: Mapping[str, Sequence[int]],
    indices: Mapping[str, Sequence[int]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Make all passes, show and write what they found; return the report."""
    import numpy as np
    from rich.console import Console

    from sdcpc_core.cost import model_cost
    from sdcpc_core.evaluation.folder import labels_folder, sums_file
    from sdcpc_core.evaluation.page import evaluation_page
    from sdcpc_core.evaluation.passes import label, score
    from sdcpc_core.evaluation.predictions import PredictionWriter
    from sdcpc_core.evaluation.report import Evaluation, evaluation_report, figures_table, headline, notes
    from sdcpc_core.output import atomic_output, output_errors
    from sdcpc_core.progress import progress
    from sdcpc_core.report import holds_report, json_text

    # Consistency is of consecutive frames, which are not all labelled in every data set.
    is_video = data.is_video and len(data.labelled) == len(data)
    main, *_ = offsets
    with ExitStack() as stack:
        out, submission = (
            place and stack.enter_context(atomic_output(place, overwrite=arguments.overwrite, is_ours=holds_report))
            for place in (arguments.out, arguments.save_predictions)
        )
        passes = {}
        for name, of_pass in offsets.items():
            writers = []
            if out:
                writers.append(PredictionWriter(data, labels_folder(out, name, main=main), arguments.out))
            if submission and name == main:
                writers.append(PredictionWriter(data, submission, arguments.save_predictions, arguments.data))
            with progress(indices[name], RUNS[name]) as shown:
                answers = _written(label(segmenter, data, shown, reference_offsets=of_pass), writers)
                passes[name] = score(answers, segmenter.labels, is_video=is_video, with_flow=arguments.flow)
        cost = model_cost(segmenter.model, segmenter.working_size(passes[main].size_hw))
        evaluation = Evaluation(data, segmenter.labels, offsets, passes, cost)
        report = {**facts, **evaluation_report(evaluation)}
        console = Console(highlight=False)
        console.print(f"{data.title}: {headline(evaluation)}, {facts['device_name']}", soft_wrap=True)
        console.print(figures_table(evaluation))
        console.print(notes(evaluation), style="dim")
        if out:
            with output_errors(arguments.out):
                for name, found in passes.items():
                    np.savez_compressed(sums_file(out, name), **found.scores.blocks)
                (out / "report.json").write_text(json_text(report), encoding="utf-8")
                page = evaluation_page(evaluation, labels_folder(out, main, main=main), report)
                (out / "report.html").write_text(page, encoding="utf-8")
        if submission:
            with output_errors(arguments.save_predictions):
                (submission / "report.json").write_text(json_text(report), encoding="utf-8")
    return report


def _predict(
    arguments: argparse.Namespace,
    segmenter: "Segmenter",
    data: "DataSet",
    reference_offsets: Sequence[int],
    indices: Sequence[int],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the predictions of a split without labels; return the report."""
    from sdcpc_core.evaluation.passes import label
    from sdcpc_core.evaluation.predictions import PredictionWriter
    from sdcpc_core.output import atomic_output, output_errors
    from sdcpc_core.progress import progress
    from sdcpc_core.report import holds_report, json_text

    place = arguments.save_predictions
    with atomic_output(place, overwrite=arguments.overwrite, is_ours=holds_report) as folder:
        writer = PredictionWriter(data, folder, place, arguments.data)
        with progress(indices, "labels") as shown:
            for answer in label(segmenter, data, shown, reference_offsets=reference_offsets):
                writer.write(answer.index, answer.label_map)
        with output_errors(place):
            (folder / "report.json").write_text(json_text(facts), encoding="utf-8")
    print(f"{data.title}: no labels, predictions only; {len(data.targets)} frames in {place}")
    return dict(facts)


def _written(answers: "Iterable[Answer]", writers: "Sequence[PredictionWriter]") -> "Iterator[Answer]":
    for answer in answers:
        for writer in writers:
            writer.write(answer.index, answer.label_map)
        yield answer


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


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse outputs, or a library that is missing, before hours are spent."""
    from sdcpc_core.output import check_output, final_place
    from sdcpc_core.report import check_report, holds_report

    check_report(arguments.json)
    for place in filter(None, (arguments.out, arguments.save_predictions)):
        check_output(place, overwrite=arguments.overwrite, is_ours=holds_report)
        check_report(arguments.json, out=place)
    if arguments.out and arguments.save_predictions:
        out, submission = map(final_place, (arguments.out, arguments.save_predictions))
        if out.is_relative_to(submission) or submission.is_relative_to(out):
            raise ConfigError("--out and --save-predictions lie in one another; give them folders of their own")
    if arguments.out:
        import jinja2  # noqa: F401


def _parse(argv: list[str]) -> argparse.Namespace:
    from sdcpc_core.data.kinds import LAYOUTS

    parser = argparse.ArgumentParser(prog="sdcpc evaluate", description=evaluate.__doc__)
    add_segmenter_arguments(parser)
    parser.add_argument("--data", choices=LAYOUTS, required=True, help="layout of the data set")
    parser.add_argument("--root", metavar="DIR", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", default="val", help="train, val or test; a folder may have others (default: val)")
    parser.add_argument(
        "--references",
        metavar="N",
        type=int,
        nargs="+",
        help=f"frames before the target (default: {' '.join(map(str, REFERENCES))} in a video, else the frame itself)",
    )
    parser.add_argument(
        "--no-flow", dest="flow", action="store_false", help="leave out TC, which needs optical flow between frames"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="write report.html, report.json, sums and the label maps here"
    )
    parser.add_argument(
        "--save-predictions",
        metavar="DIR",
        type=Path,
        help="write label maps as the data set's benchmark wants them; a split without labels may be predicted",
    )
    add_output_arguments(parser)
    return parser.parse_args(argv)
