"""What an evaluation found: for people at a terminal and for files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rich.table import Table

from sdcpc_core.cost import ModelCost
from sdcpc_core.data.dataset import DataSet
from sdcpc_core.evaluation.passes import Pass
from sdcpc_core.labels import LabelSet
from sdcpc_core.metrics.bootstrap import CONFIDENCE, Difference, differences
from sdcpc_core.metrics.scores import BLOCK_FRAMES
from sdcpc_core.metrics.temporal_consistency import FLOW
from sdcpc_core.report import latency_ms, rounded, shown

MASKS = {
    "TC": "none: every pixel counts, at the border of the image where it leaves it",
    "TC_unoccluded": "occlusions and motion boundaries of Lai et al. (ECCV 2018), and pixels that leave the image",
}


@dataclass(frozen=True)
class Evaluation:
    """The passes of a network over a split.

    Attributes:
        data: the split.
        labels: its classes.
        offsets: how many frames before the target the references of each pass lie; none for the frame itself.
        passes: by name, the main one first; ``self`` is one of them.
        cost: of the network, at the size it saw the frames in.
    """

    data: DataSet
    labels: LabelSet
    offsets: Mapping[str, Sequence[int]]
    passes: Mapping[str, Pass]
    cost: ModelCost

    @property
    def main(self) -> Pass:
        """The pass whose figures count."""
        return next(iter(self.passes.values()))

    @property
    def with_past(self) -> str | None:
        """Name of the pass with other frames than the target as references; None without one."""
        return next((name for name in self.passes if name != "self"), None)

    @cached_property
    def gains(self) -> dict[str, Difference]:
        """What the references earn: the figures of ``with_past`` minus those of ``self``; empty without such a pass."""
        if self.with_past is None:
            return {}
        return differences(self.passes[self.with_past].scores, self.passes["self"].scores)

    @property
    def blocks(self) -> int:
        """Number of blocks that were resampled."""
        return len(self.main.scores.blocks["labels"])

    @property
    def has_flow(self) -> bool:
        """Whether TC was measured."""
        return "warped" in self.main.scores.blocks


def evaluation_report(evaluation: Evaluation) -> dict[str, Any]:
    """All figures, for JSON; None where nothing was measured.

    The main pass stands at the top, every other pass under its name.
    """
    main, *others = evaluation.passes
    found = {name: _results(of_pass, evaluation.labels.names) for name, of_pass in evaluation.passes.items()}
    report = {
        "passes": {name: list(offsets) for name, offsets in evaluation.offsets.items()},
        "working_size_hw": list(evaluation.cost.size_hw),
        **evaluation.cost.total.to_dict(),
        **({"TC_flow": FLOW, "TC_masks": MASKS} if evaluation.has_flow else {}),
        **found[main],
        "self": found["self"],
        **{name: found[name] for name in others},
    }
    if evaluation.gains:
        gains = {key: rounded(asdict(gain)) for key, gain in evaluation.gains.items()}
        method = {"blocks": evaluation.blocks, "block_frames": BLOCK_FRAMES, "confidence": CONFIDENCE}
        report[f"{evaluation.with_past}_minus_self"] = {**method, **gains}
    return report


def _results(of_pass: Pass, class_names: Sequence[str]) -> dict[str, Any]:
    latency = latency_ms(list(of_pass.step_ms))
    scores = of_pass.scores
    compared = {"TC_unoccluded_share": scores.compared()} if "warped" in scores.blocks else {}
    iou = dict(zip(class_names, scores.iou_per_class(), strict=True))
    return {
        **rounded({**scores.figures(), **compared}),
        "IoU": rounded(iou),
        "latency_ms": latency,
        "fps": _rate(latency["median"]),
        "evaluation_fps": round(of_pass.frames_per_s, 2),
    }


def figure_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Cells of the figures: name, value of each pass, difference where there is one."""
    figures = [of_pass.scores.figures() for of_pass in evaluation.passes.values()]
    return [
        (key, *(shown(of_pass[key]) for of_pass in figures), *([str(gain)] if gain else []))
        for key in figures[0]
        for gain in [evaluation.gains.get(key)]
    ]


def figure_columns(evaluation: Evaluation) -> tuple[str, ...]:
    """Heads of the cells of ``figure_rows``."""
    gain = [f"{evaluation.with_past} − self ({100 * CONFIDENCE:g} %)"] if evaluation.gains else []
    return ("percent", *evaluation.passes, *gain)


def speed_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Cells of the speed: name, value of each pass."""
    passes = evaluation.passes.values()
    medians = [latency_ms(list(of_pass.step_ms))["median"] for of_pass in passes]
    return [
        ("ms per frame, median", *(f"{median:.1f}" for median in medians)),
        ("frames per second", *(f"{1e3 / median:.2f}" for median in medians)),
        ("… of the whole evaluation", *(f"{of_pass.frames_per_s:.2f}" for of_pass in passes)),
    ]


def figures_table(evaluation: Evaluation) -> Table:
    """All figures, a column for each pass over the split."""
    table = Table(*figure_columns(evaluation)[:1])
    for column in figure_columns(evaluation)[1:]:
        table.add_column(column, justify="right")
    for row in figure_rows(evaluation):
        table.add_row(*row)
    table.add_section()
    iou = [of_pass.scores.iou_per_class() for of_pass in evaluation.passes.values()]
    for index, label in enumerate(evaluation.labels.names):
        table.add_row(f"IoU {label}", *(shown(of_pass[index]) for of_pass in iou))
    table.add_section()
    for row in speed_rows(evaluation):
        table.add_row(*row)
    return table


def headline(evaluation: Evaluation) -> str:
    """How much was evaluated."""
    return f"{len(evaluation.data.labelled)} labelled frames, unlabelled pixels ignored"


def notes(evaluation: Evaluation) -> str:
    """What has to be known to read the figures."""
    total, (height, width) = evaluation.cost.total, evaluation.cost.size_hw
    lines = [f"{name}: {meaning}" for name, meaning in meanings(evaluation).items()]
    lines.append(
        f"{total.params / 1e6:.2f} M parameters; G of multiply-accumulates without attention products at "
        f"{height}x{width}: {total.stream.macs / 1e9:.1f} per frame of the stream, {total.clip.macs / 1e9:.1f} per "
        f"clip of {evaluation.cost.frames}"
    )
    if evaluation.has_flow:
        share = shown(evaluation.main.scores.compared())
        lines.append(f"TC: flow {FLOW}; no mask. TC_unoccluded: occlusions masked, {share} % of the pixels")
    if evaluation.gains:
        blocks = f"{evaluation.blocks} block{'s'[: evaluation.blocks != 1]} of up to {BLOCK_FRAMES} frames"
        lines.append(f"difference: paired bootstrap over {blocks}")
    return "\n".join(lines)


def meanings(evaluation: Evaluation) -> dict[str, str]:
    """What the references of each pass are."""
    spacing_s = evaluation.data.spacing_s()
    told = {}
    for name, offsets in evaluation.offsets.items():
        ages = " and ".join(f"{offset * spacing_s:.2g} s" for offset in offsets)
        frames = f"the frames {' and '.join(map(str, offsets))} before the target, {ages} older"
        told[name] = frames if offsets else "each frame is its own reference"
    if not evaluation.data.is_video:
        lie = f"lie {spacing_s:.1f} s apart" if math.isfinite(spacing_s) else "stand alone"
        told["self"] += f"; the frames {lie} and are no video"
    return told


def _rate(median_ms: float | None) -> float | None:
    return round(1e3 / median_ms, 2) if median_ms else None
