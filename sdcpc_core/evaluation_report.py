"""What an evaluation found: for people and for files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from sdcpc_core.bootstrap import CONFIDENCE, Difference
from sdcpc_core.cost import ModelCost
from sdcpc_core.metrics.scores import BLOCK_FRAMES, Scores
from sdcpc_core.metrics.temporal_consistency import FLOW
from sdcpc_core.report import latency_ms

MASKS = {
    "TC": "none: every pixel counts, at the border of the image where it leaves it",
    "TC_unoccluded": "occlusions and motion boundaries of Lai et al. (ECCV 2018), and pixels that leave the image",
}


def results(scores: Scores, class_names: Sequence[str], step_ms: list[float]) -> dict[str, Any]:
    """One pass over a split, for JSON; None where nothing was measured.

    Args:
        scores: its figures.
        class_names: (K,).
        step_ms: duration of the stream's step for each frame (ms).
    """
    latency = latency_ms(step_ms)
    fps = round(1e3 / latency["median"], 2) if latency["median"] else None
    iou = dict(zip(class_names, scores.iou_per_class(), strict=True))
    compared = _rounded({"TC_unoccluded_share": scores.compared()}) if "warped" in scores.blocks else {}
    return {**_rounded(scores.figures()), **compared, "IoU": _rounded(iou), "latency_ms": latency, "fps": fps}


def definitions(scores: Scores) -> dict[str, Any]:
    """How the figures are meant that have more than one meaning, for JSON."""
    return {"TC_flow": FLOW, "TC_masks": MASKS} if "warped" in scores.blocks else {}


def gains_report(gains: Mapping[str, Difference], blocks: int) -> dict[str, Any]:
    """Differences with their intervals, for JSON."""
    rows = {key: _rounded(asdict(gain)) for key, gain in gains.items()}
    return {"blocks": blocks, "block_frames": BLOCK_FRAMES, "confidence": CONFIDENCE, **rows}


def figures_table(
    scores: Mapping[str, Scores],
    class_names: Sequence[str],
    step_ms: Mapping[str, list[float]],
    gains: Mapping[str, Difference],
) -> Table:
    """All figures, a column for each pass over the split.

    Args:
        scores: by the name of the pass.
        class_names: (K,).
        step_ms: duration of the stream's step for each frame, by pass (ms).
        gains: the first pass minus the second; empty for none.
    """
    table = Table("percent")
    for name in scores:
        table.add_column(name, justify="right")
    if gains:
        table.add_column(f"difference ({100 * CONFIDENCE:g} %)", justify="right")
    figures = {name: scored.figures() for name, scored in scores.items()}
    first, *_ = figures.values()
    for key in first:
        gain = [_shown_gain(gains[key])] if gains else []
        table.add_row(key, *(_shown(figures[name][key]) for name in scores), *gain)
    table.add_section()
    iou = [scored.iou_per_class() for scored in scores.values()]
    for index, label in enumerate(class_names):
        table.add_row(f"IoU {label}", *(_shown(of_run[index]) for of_run in iou))
    table.add_section()
    medians = [latency_ms(samples)["median"] for samples in step_ms.values()]
    table.add_row("ms per frame, median", *(f"{median:.1f}" if median else "-" for median in medians))
    table.add_row("frames per second", *(f"{1e3 / median:.2f}" if median else "-" for median in medians))
    return table


def notes(scores: Scores, cost: ModelCost, gains: Mapping[str, Difference]) -> str:
    """What has to be known to read the table."""
    total, (height, width) = cost.total, cost.size_hw
    lines = [
        f"{total.params / 1e6:.2f} M parameters; G of multiply-accumulates without attention products at "
        f"{height}x{width}: {total.stream.macs / 1e9:.1f} per frame of the stream, {total.clip.macs / 1e9:.1f} per "
        f"clip of {cost.frames}"
    ]
    if "warped" in scores.blocks:
        lines.append(
            f"TC: flow {FLOW}; no mask. TC_unoccluded: occlusions masked, {_shown(scores.compared())} % of the pixels"
        )
    if gains:
        blocks = len(scores.blocks["labels"])
        lines.append(f"difference: paired bootstrap over {blocks} blocks of up to {BLOCK_FRAMES} frames")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _shown_gain(gain: Difference) -> str:
    if math.isnan(gain.value):
        return "-"
    interval = "" if math.isnan(gain.low) else f" ({gain.low:+.2f} to {gain.high:+.2f})"
    return f"{gain.value:+.2f}{interval}"


def _rounded(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else round(float(value), 2) for key, value in figures.items()}
