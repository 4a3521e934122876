"""Time of a step of the stream by the number of attention points P, interleaved, into docs/reproduction.md.

python benchmarks/attention_points.py      on a machine with nothing else to do
"""

import argparse
from time import perf_counter, process_time

import numpy as np
import torch
from ledger import Table, with_table
from reproduction import DOCUMENT, PUBLISHED_FPS, VSPW

from sdcpc_core.benchmark.contenders import WARM_UP_STEPS
from sdcpc_core.benchmark.timing import Samples
from sdcpc_core.labels import LabelSet
from sdcpc_core.models import build_model
from sdcpc_core.progress import progress
from sdcpc_core.reference_cache import NS_PER_S
from sdcpc_core.report import device_name
from sdcpc_core.streaming import Segmenter

SHIFT = 3
"""Pixels that the picture moves from frame to frame."""


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="timed steps for each P (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    measured = measure(arguments.rounds)
    machine = f"{device_name(torch.device('cpu'))}, fp32, {arguments.rounds} interleaved steps each"
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_table(document, "times", table(measured, machine)), encoding="utf-8")
    print(table(measured, machine))


def measure(rounds: int) -> dict[int, Samples]:
    """Time steps of one stream for each P in turn, so that a change of the machine's speed meets all alike."""
    labels = LabelSet("any", tuple(map(str, range(124))), ((0, 0, 0),) * 124)
    streams = {p: Segmenter(build_model("sdcpc_mit_b1", 124, num_points=p), labels).stream() for p in PUBLISHED_FPS}
    samples = {p: Samples() for p in PUBLISHED_FPS}
    height, width = VSPW
    picture = np.random.default_rng(0).integers(0, 256, (height, width + SHIFT * (rounds + WARM_UP_STEPS), 3), np.uint8)
    with progress(range(rounds + WARM_UP_STEPS), "timing") as turns:
        for turn in turns:
            frame = np.ascontiguousarray(picture[:, SHIFT * turn : SHIFT * turn + width])
            for num_points in list(streams)[:: 1 if turn % 2 else -1]:
                wall_s, cpu_s = perf_counter(), process_time()
                streams[num_points].step(frame, (turn + 1) * NS_PER_S // 15)
                if turn >= WARM_UP_STEPS:
                    samples[num_points].wall_ms.append((perf_counter() - wall_s) * 1e3)
                    samples[num_points].cpu_ms.append((process_time() - cpu_s) * 1e3)
    return samples


def table(samples: dict[int, Samples], machine: str) -> Table:
    """Times as ratios to the median of P = 4, beside the paper's frames per second."""
    wall_ms, cpu_ms = float(np.median(samples[4].wall_ms)), float(np.median(samples[4].cpu_ms))
    rows = []
    for num_points, measured in samples.items():
        low, median, high = np.percentile(measured.wall_ms, [25, 50, 75]) / wall_ms
        cpu = float(np.median(measured.cpu_ms)) / cpu_ms
        paper = PUBLISHED_FPS[4] / PUBLISHED_FPS[num_points]
        rows.append([f"{num_points}", f"{median:.2f}", f"{low:.2f} to {high:.2f}", f"{cpu:.2f}", f"{paper:.2f}"])
    headings = [f"P ({machine})", "median time, P = 4 is 1", "middle half", "processor time, P = 4 is 1", "paper"]
    return Table(headings, rows)


if __name__ == "__main__":
    main()
