"""The tables of README.md that say how fast the stream is, from what ``sdcpc benchmark --json`` wrote.

python benchmarks/speed.py benchmarks/results/FILE.json            rewrite the table of its device
python benchmarks/speed.py benchmarks/results/FILE.json --check    fail where it is out of date
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ledger import Table, with_table

from sdcpc_core.benchmark.setting import Setting

DOCUMENT = Path(__file__).resolve().parents[1] / "README.md"
RATIOS = {
    "streaming_over_segformer": "fastest",
    "streaming_over_segformer_eager": "eager",
    "streaming_over_own_segformer": "own",
}


def main(argv: Sequence[str]) -> int:
    """Write or check the table.

    Returns:
        Exit status: 0, or 1 where the check fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="of one run on one device")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the table is out of date")
    arguments = parser.parse_args(argv)
    report = json.loads(arguments.results.read_text(encoding="utf-8"))
    before = DOCUMENT.read_text(encoding="utf-8")
    document = with_table(before, f"speed {_kind(report)}", speed_table(report))
    if not arguments.check:
        DOCUMENT.write_text(document, encoding="utf-8")
    elif document != before:
        print(f"{DOCUMENT.name} is out of date: run python benchmarks/speed.py {arguments.results}", file=sys.stderr)
        return 1
    return 0


def speed_table(report: Mapping[str, Any]) -> Table:
    """A row per network, size, K and number of cameras; for each precision the ratios, on a GPU the rates too."""
    cells = {Setting.from_dict(cell["setting"]): cell for cell in report["cells"]}
    precisions = list(dict.fromkeys(setting.precision for setting in cells))
    on_gpu = _kind(report) == "gpu"
    rows = []
    for place in dict.fromkeys(replace(setting, precision="") for setting in cells):
        found = [cells.get(replace(place, precision=precision)) for precision in precisions]
        row = [str(place).replace(", ,", ",").removesuffix(", ")]
        for cell in found:
            row += _cells(cell, on_gpu)
        macs = next(cell for cell in found if cell)["macs_over_segformer"]
        rows.append([*row, f"{macs:.2f}"])
    heads = [*RATIOS.values(), *["frames/s", "p99, ms"] * on_gpu]
    columns = [f"{precision}: {head}" for precision in precisions for head in heads]
    return Table([f"{report['device_name']}: stream over SegFormer", *columns, "multiply-accumulates"], rows)


def _cells(cell: Mapping[str, Any] | None, on_gpu: bool) -> list[str]:
    if cell is None:
        return ["–"] * (len(RATIOS) + 2 * on_gpu)
    ratios = [f"{cell[key]:.2f}" if key in cell else "–" for key in RATIOS]
    stream = cell["results"]["stream"]
    if not on_gpu:
        # Times of a processor say more about the machine than about the network.
        return ratios
    if "failure" in stream:
        return [*ratios, "–", "–"]
    return [*ratios, f"{stream['frames_per_s']:.0f}", f"{stream['latency_ms']['p99']:.2f}"]


def _kind(report: Mapping[str, Any]) -> str:
    return "cpu" if report["cells"][0]["setting"]["device"] == "cpu" else "gpu"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
