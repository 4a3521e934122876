"""What a robot waits for before its first frame: import, weights, warm-up, each time in a new process.

python benchmarks/startup.py                 on a machine with nothing else to do
python benchmarks/startup.py --device cuda --precision bf16
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from ledger import Table

from sdcpc_core.arguments import add_segmenter_arguments, size_hw

START = """
import json, sys, time
start_s = time.perf_counter()
import torch
torch_s = time.perf_counter()
from sdcpc_core import Segmenter
import_s = time.perf_counter()
checkpoint, device, precision, height, width = sys.argv[1:]
segmenter = Segmenter.from_checkpoint(checkpoint or None, device=device, precision=precision)
weights_s = time.perf_counter()
segmenter.warm_up((int(height), int(width)))
warm_s = time.perf_counter()
marks_s = [start_s, torch_s, import_s, weights_s, warm_s]
print(json.dumps([end - begin for begin, end in zip(marks_s, marks_s[1:])]))
"""
PHASES = ("import of PyTorch", "import of sdcpc_core", "weights", "warm-up, the first two frames")


def main(argv: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_segmenter_arguments(parser)
    parser.add_argument("--size", type=size_hw, default=(480, 640), metavar="HxW", help="default: 480x640")
    parser.add_argument("--runs", type=int, default=5, help="new processes (default: %(default)s)")
    arguments = parser.parse_args(argv)
    settings = [str(arguments.checkpoint or ""), arguments.device, arguments.precision, *map(str, arguments.size)]
    starts = [_start_s(settings) for _ in range(arguments.runs)]
    print(startup_table(np.array(starts)))


def startup_table(starts_s: np.ndarray) -> Table:
    """Seconds of each phase and of all, (runs, phases): the first run and the median of all."""
    starts_s = np.column_stack([starts_s, starts_s.sum(axis=1)])
    rows = [
        [name, f"{first:.2f}", f"{median:.2f}"]
        for name, first, median in zip([*PHASES, "all"], starts_s[0], np.median(starts_s, axis=0), strict=True)
    ]
    return Table(["seconds", "first start", "median"], rows)


def _start_s(settings: Sequence[str]) -> list[float]:
    return json.loads(subprocess.check_output([sys.executable, "-c", START, *settings], text=True))


if __name__ == "__main__":
    main(sys.argv[1:])
