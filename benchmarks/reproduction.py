"""The tables of docs/reproduction.md: what the paper publishes beside what is counted here.

python benchmarks/reproduction.py            rewrite the tables
python benchmarks/reproduction.py --check    fail where one is out of date or a figure misses its tolerance
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from ledger import Comparison, Table, problems, with_table

from sdcpc_core.cost import ModelCost, model_cost
from sdcpc_core.models import build_model

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "reproduction.md"
ABLATIONS = ROOT / "config" / "train" / "ablation"

VSPW, CITYSCAPES, CITYSCAPES_FULL = (480, 853), (512, 1024), (1024, 2048)
NUM_CLASSES = {VSPW: 124, CITYSCAPES: 19, CITYSCAPES_FULL: 19}
WIDTH, DCN_POINTS = 128, 9
PER_FRAME_PARTS = ("encoder", "fusion", "DCN", "LA")


def costs() -> Table:
    """Tables 1 and 2 of the paper: SD-CPC with five encoders."""
    published = [
        ("mit_b1", VSPW, 69.2, 15.0),
        ("mit_b2", VSPW, 107.1, 26.0),
        ("mit_b5", VSPW, 324.9, 83.5),
        ("mit_b0", CITYSCAPES, 49.3, None),
        ("mit_b1", CITYSCAPES, 87.4, None),
    ]
    rows, comparisons = [], []
    for backbone, size_hw, giga, millions in published:
        total = _cost(f"sdcpc_{backbone}", size_hw).total
        name = f"{_spelled(backbone)}, {_size(size_hw)}, K = {NUM_CLASSES[size_hw]}"
        operations = Comparison(f"{name}, G", giga, total.clip.macs / 1e9, 5)
        comparisons.append(operations)
        if millions:
            parameters = Comparison(f"{name}, parameters", millions, total.params / 1e6, 2)
            comparisons.append(parameters)
            cells = parameters.cells
        else:
            cells = ["–", f"{total.params / 1e6:.2f}", "–"]
        stream = f"{total.stream.macs / 1e9:.2f}"
        rows.append([name, *operations.cells, *cells, stream, f"{total.stream.macs / total.clip.macs:.2f}"])
    headings = ["SD-CPC", "G, paper", "ours", "%", "M, paper", "ours", "%", "stream, G per frame", "of the clip"]
    return Table(headings, rows, comparisons)


def ablation() -> Table:
    """Table 3 of the paper, each row from its config."""
    published = {
        "only_dssa": ("only DSSA", 64.25), "only_ssea": ("only SSEA", 49.30), "without_dssa": ("w/o DSSA", 49.30),
        "without_ssea": ("w/o SSEA", 61.00), "without_mcp_cl": ("w/o MCP-CL", 69.20),
        "without_stage_1": ("w/o stage 1", 59.25), "without_stage_2": ("w/o stage 2", 59.25),
        "one_variate": ("MCP-CL (M = 1)", 68.91), "without_la": ("w/o LA", 68.16), "without_dcn": ("w/o DCN", 65.61),
        "without_multi_scale": ("w/o Multi-Scale", 65.34),
    }  # fmt: skip
    whole_published = 69.20
    whole = _three_frames(_cost("sdcpc_mit_b1", VSPW)) / 1e9
    rows, comparisons = [], []
    for config, (name, giga) in published.items():
        options = _config_options(config)
        ours = _three_frames(_cost("sdcpc_mit_b1", VSPW, **options)) / 1e9
        row = Comparison(name, giga, ours, 5)
        comparisons.append(row)
        cells = ["0.00", f"{whole - ours:.2f}", "–"]
        if giga < whole_published:
            part = Comparison(f"what {name!r} leaves out", whole_published - giga, whole - ours, 15)
            comparisons.append(part)
            cells = part.cells
        rows.append([f"{name}: [{config}](../config/train/ablation/{config}.yaml)", *row.cells, *cells])
    headings = ["Table 3", "G, paper", "ours", "%", "left out, paper", "ours", "%"]
    return Table(headings, rows, comparisons)


def segformer() -> Table:
    """The SegFormer rows of the paper's Tables 1 and 2 in every reading: one frame, two widths, products or not."""
    published = [
        ("mit_b1", VSPW, 26.6, 13.8, 256),
        ("mit_b2", VSPW, 100.8, 24.8, 768),
        ("mit_b5", VSPW, 185.0, 82.1, 768),
        ("mit_b0", CITYSCAPES, 121.2, None, None),
        ("mit_b0", CITYSCAPES_FULL, 121.2, None, 256),
        ("mit_b1", CITYSCAPES, 121.2, None, None),
        ("mit_b1", CITYSCAPES_FULL, 121.2, None, None),
    ]
    rows, comparisons = [], []
    for backbone, size_hw, giga, millions, fitting_width in published:
        name = f"{_spelled(backbone)}, {_size(size_hw)}, K = {NUM_CLASSES[size_hw]}"
        cells, params = [], []
        for width in (256, 768):
            total = _cost(f"segformer_{backbone}", size_hw, decoder_channels=width).total
            cells.append(f"{total.clip.macs / 1e9:.1f}")
            reading = Comparison(f"SegFormer {name}, {width} wide", giga, total.clip.macs_with_attention / 1e9, 1)
            fits = width == fitting_width
            cells.append(f"**{reading.ours:.1f}**" if fits else f"{reading.ours:.1f}")
            comparisons += [reading] * fits
            millions_here = total.params / 1e6
            if millions and width == 256:
                comparisons.append(Comparison(f"SegFormer {name}, parameters", millions, millions_here, 1))
            params.append(f"**{millions_here:.1f}**" if millions and width == 256 else f"{millions_here:.1f}")
        rows.append([name, f"{giga}", *cells, f"{millions or '–'}", *params])
    headings = ["SegFormer, one frame", "G, paper", "256 wide", "with products", "768 wide", "with products"]
    return Table([*headings, "M, paper", "256 wide", "768 wide"], rows, comparisons)


def readings() -> Table:
    """What other readings of the text would cost."""
    whole, frames = _cost("sdcpc_mit_b1", VSPW), 3
    parts, tokens = whole.parts, 60 * 107
    f2_projected = _cost("sdcpc_mit_b1", VSPW, multi_scale=False).parts["fusion"].clip.macs
    per_frame_layer = frames * tokens * WIDTH  # multiply-accumulates for each output channel of a linear layer
    ffn = per_frame_layer * 8 * WIDTH
    dcn_v2 = per_frame_layer * 9 * (WIDTH + 3 * DCN_POINTS) + parts["DCN"].clip.sampling
    decision = tokens * NUM_CLASSES[VSPW] ** 2
    stage, points = parts["DSSA stage 1"].clip, 4
    mlp = 2 * tokens * 8 * WIDTH**2  # in each of the two units of a stage, which align one pair of frames
    unit_params = parts["DSSA stage 1"].params + parts["DSSA stage 2"].params
    b0 = [_cost("sdcpc_mit_b0", CITYSCAPES, channels=c).total.clip.macs for c in (128, 64)]

    def giga(macs: float) -> str:
        return f"{macs / 1e9:.2f} G"

    rows = [
        ["width C: 128 for every encoder (B0, 512×1024)", giga(b0[0]), "49.3 G"],
        ["width C: 64, the width of B0's F2", giga(b0[1]), "49.3 G"],
        ["multi-scale fusion: without it, F2 is projected", giga(parts["fusion"].clip.macs - f2_projected), "3.86 G"],
        ["multi-scale fusion: without it, F2 is handed on", giga(parts["fusion"].clip.macs), "3.86 G"],
        ["DCN: v3 and a ×4 feed-forward network", giga(parts["DCN"].clip.macs), "3.59 G"],
        ["DCN: v3 alone", giga(parts["DCN"].clip.macs - ffn), "3.59 G"],
        ["DCN: v2 alone, a deformable 3×3 convolution", giga(dcn_v2), "3.59 G"],
        ["DCN: v2 and a ×4 feed-forward network", giga(dcn_v2 + ffn), "3.59 G"],
        ["LA: its layer", giga(parts["LA"].clip.macs), "1.04 G"],
        ["LA: its layer and its products", giga(parts["LA"].clip.macs_with_attention), "1.04 G"],
        ["LA: its layer and a ×4 feed-forward network", giga(parts["LA"].clip.macs + ffn), "1.04 G"],
        ["Q, K, V of a stage: two-layer MLPs, then sampling", giga(stage.macs), "9.95 G"],
        ["Q, K, V of a stage: sampling, then two-layer MLPs", giga(stage.macs + 2 * (points - 1) * mlp), "9.95 G"],
        ["Q, K, V of a stage: single layers, then sampling", giga(stage.macs - 3 * mlp * 7 // 8), "9.95 G"],
        ["weights of a stage: shared by its two units", f"{whole.total.params / 1e6:.2f} M", "15.0 M"],
        ["weights of a stage: of each unit its own", f"{(whole.total.params + unit_params) / 1e6:.2f} M", "15.0 M"],
        ["M = 4 instead of 1: a mean of the variates", giga(0), "0.29 G"],
        ["M = 4 instead of 1: learned, none for M = 1", giga(4 * decision), "0.29 G"],
        ["M = 4 instead of 1: learned, for M = 1 as well", giga(3 * decision), "0.29 G"],
    ]
    return Table(["reading", "counted", "paper"], rows)


def complexity() -> Table:
    """Counted operations beside the paper's 3 (NDC + NC²) and 3 NDC + 4 NPC² as N grows."""
    points, rows, per_token = 4, [], []
    for size_hw in ((128, 128), (256, 256), VSPW, CITYSCAPES, CITYSCAPES_FULL):
        parts = _cost("sdcpc_mit_b1", size_hw, 124).parts
        tokens = -(-size_hw[0] // 8) * -(-size_hw[1] // 8)
        ssea = sum(parts[name].clip.macs_with_attention for name in ("fusion", "DCN", "LA"))
        stages = [parts[name].clip for name in ("DSSA stage 1", "DSSA stage 2")]
        dssa = sum(stage.macs_with_attention for stage in stages)
        selected = sum(stage.sampling + stage.attention for stage in stages)
        formulas = (
            3 * (tokens * DCN_POINTS * WIDTH + tokens * WIDTH**2),
            3 * tokens * DCN_POINTS * WIDTH + 4 * tokens * points * WIDTH**2,
        )
        cells = []
        for counted, formula in zip((ssea, dssa), formulas, strict=True):
            cells += [f"{counted / 1e9:.2f}", f"{counted / tokens / 1e6:.3f}", f"{counted / formula:.2f}"]
        per_token.append((ssea / tokens, dssa / tokens))
        vanilla = 4 * 2 * tokens**2 * WIDTH
        rows.append([_size(size_hw), f"{tokens}", *cells, f"{selected / 1e9:.3f}", f"{vanilla / 1e9:.2f}"])
    linear = [
        Comparison(f"{module} per token, most over least", 1, max(values) / min(values), 1)
        for module, values in zip(("SSEA", "DSSA"), zip(*per_token, strict=True), strict=True)
    ]
    ssea_dssa = [f"{module}{what}" for module in ("SSEA", "DSSA") for what in (", G", ", M per token", " / formula")]
    return Table(["B1, clip", "N", *ssea_dssa, "Eq. (2), G", "all pairs, G"], rows, linear)


PUBLISHED_FPS = {4: 32.54, 9: 27.25, 16: 21.13}


def points() -> Table:
    """Cost of a stream of SD-CPC B1 by the number of attention points."""
    rows = []
    for num_points, fps in PUBLISHED_FPS.items():
        cost = _cost("sdcpc_mit_b1", VSPW, num_points=num_points)
        alignment = cost.parts["DSSA stage 1"].stream + cost.parts["DSSA stage 2"].stream
        base = _cost("sdcpc_mit_b1", VSPW).total
        totals = (cost.total.stream, base.stream), (cost.total.clip, base.clip)
        ratios = [f"{ours.macs_with_attention / four.macs_with_attention:.3f}" for ours, four in totals]
        selected = (alignment.sampling + alignment.attention) / 1e9
        stream = f"{cost.total.stream.macs_with_attention / 1e9:.2f}"
        rows.append([f"{num_points}", f"{fps}", f"{PUBLISHED_FPS[4] / fps:.2f}", f"{selected:.2f}", stream, *ratios])
    headings = ["P", "FPS, paper", "time, P = 4 is 1", "Eq. (2), G", "stream, G", "stream, P = 4 is 1"]
    return Table([*headings, "clip, P = 4 is 1"], rows)


TABLES: dict[str, Callable[[], Table]] = {
    "costs": costs, "ablation": ablation, "segformer": segformer, "readings": readings, "complexity": complexity,
    "points": points,
}  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Write or check the tables.

    Returns:
        Exit status: 0, or 1 where the check fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where something is wrong")
    arguments = parser.parse_args(argv)
    tables = {name: make() for name, make in TABLES.items()}
    before = document = DOCUMENT.read_text(encoding="utf-8")
    for name, table in tables.items():
        document = with_table(document, name, table)
    found = list(problems(tables.values()))
    if not arguments.check:
        DOCUMENT.write_text(document, encoding="utf-8")
    elif document != before:
        found.append(f"{DOCUMENT.name} is out of date: run python benchmarks/reproduction.py")
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


@cache
def _cost_of(name: str, num_classes: int, size_hw: tuple[int, int], options: tuple[tuple[str, Any], ...]) -> ModelCost:
    with torch.device("meta"):
        model = build_model(name, num_classes, **dict(options))
    return model_cost(model, size_hw)


def _cost(name: str, size_hw: tuple[int, int], num_classes: int | None = None, **options: Any) -> ModelCost:
    return _cost_of(name, num_classes or NUM_CLASSES[size_hw], size_hw, tuple(sorted(options.items())))


def _three_frames(cost: ModelCost) -> int:
    # Table 3 counts three encoded frames even where nothing asks for the other two.
    times_encoded = 3 // cost.frames
    parts = cost.parts.items()
    return sum(part.clip.macs * (times_encoded if name in PER_FRAME_PARTS else 1) for name, part in parts)


def _config_options(config: str) -> dict[str, Any]:
    settings = yaml.safe_load((ABLATIONS / f"{config}.yaml").read_text(encoding="utf-8"))
    return settings.get("model", {}).get("options", {})


def _spelled(backbone: str) -> str:
    return backbone.removeprefix("mit_").upper()


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]}×{size_hw[1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
