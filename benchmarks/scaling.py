"""How the cost of the stream grows: SSEA and DSSA by pixels, by P and by cameras; memory over many frames.

python benchmarks/scaling.py --json benchmarks/results --page out/scaling.html     on a machine with nothing else to do
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdcpc_core.benchmark.contenders import build_contender, running
from sdcpc_core.benchmark.frames import frames
from sdcpc_core.benchmark.profile import stream_step
from sdcpc_core.benchmark.roofline import DeviceClock
from sdcpc_core.benchmark.setting import STREAM, Setting, check_setting
from sdcpc_core.output import atomic_output
from sdcpc_core.pages.charts import Lines
from sdcpc_core.pages.page import Facts, Section, Table, render_page
from sdcpc_core.report import check_report, device_name, report_place, run_facts, write_report
from sdcpc_core.streaming import find_device

SIZES = ((120, 160), (240, 320), (360, 480), (480, 640), (600, 800), (720, 960))
POINTS = (1, 4, 9, 16, 25)
CAMERAS = (1, 2, 3, 4, 5, 6, 7, 8)
CAMERA_SIZE, MEMORY_SIZE = (240, 320), (64, 96)
MODULES = {"SSEA": ("SSEA",), "DSSA": ("reference work", "DSSA")}
"""The parts of a step that each module of the paper does."""
WARM_UP_ROUNDS = 2
MEMORY_MARKS = 100


def main(argv: Sequence[str]) -> None:
    """Measure, print, write and draw."""
    arguments = _parse(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = find_device(arguments.device)
    date = datetime.now(timezone.utc)
    place = report_place(arguments.json, f"scaling {device_name(device)}", date)
    for path in (place, arguments.page):
        check_report(path)
    base = Setting(arguments.model, CAMERA_SIZE, arguments.num_classes, str(device), arguments.precision)
    check_setting(base)
    report = {
        **run_facts(vars(arguments)),
        "date": date.isoformat(timespec="seconds"),
        "device_name": device_name(device),
        # First, before anything else has allocated.
        "memory_mb": memory_mb(replace(base, size_hw=MEMORY_SIZE), arguments.frames),
        "pixels": grow([replace(base, size_hw=size) for size in SIZES], arguments.rounds),
        "points": grow([replace(base, num_points=points) for points in POINTS], arguments.rounds),
        "cameras": grow([replace(base, cameras=cameras) for cameras in CAMERAS], arguments.rounds),
    }
    for name in ("pixels", "points", "cameras"):
        print(f"{name}: {list(xs(name))}")
        for module in MODULES:
            print(
                f"  {module}, ms: {[round(of[module], 2) for of in report[name]]}", exponent_text(report, name, module)
            )
    print(f"memory, MiB: {memory_text(report['memory_mb'])}")
    if place:
        write_report(place, report)
    if arguments.page:
        with atomic_output(arguments.page, overwrite=True) as draft:
            draft.write_text(scaling_page(report), encoding="utf-8")


def grow(settings: Sequence[Setting], rounds: int) -> list[dict[str, float]]:
    """Median time (ms) of SSEA and of DSSA, reference work and all, in each setting; the settings take turns."""
    clock = DeviceClock(torch.device(settings[0].device))
    timed = {name for names in MODULES.values() for name in names}
    steps = [[part for part in stream_step(setting).parts if part.name in timed] for setting in settings]
    for turn in range(-WARM_UP_ROUNDS, rounds):
        for setting, parts in zip(settings, steps, strict=True):
            with running(setting):
                for part in parts:
                    time_ms = clock.time_ms(part.run)
                    if turn >= 0:
                        part.times_ms.append(time_ms)
    return [
        {
            module: sum(float(np.median(part.times_ms)) for part in parts if part.name in names)
            for module, names in MODULES.items()
        }
        for parts in steps
    ]


def memory_mb(setting: Setting, num_frames: int) -> list[float]:
    """Memory (MiB) of the process, on CUDA of PyTorch's tensors, at even distances along a stream."""
    step, pictures = build_contender(STREAM, setting), frames(setting)
    every, marks = max(1, num_frames // MEMORY_MARKS), []
    for index in range(num_frames):
        step(next(pictures))
        if index % every == every - 1:
            marks.append(_memory_now_mb(setting.device))
    return [round(mark, 2) for mark in marks]


def xs(name: str) -> Sequence[float]:
    """What is varied, as numbers."""
    return {"pixels": [height * width for height, width in SIZES], "points": POINTS, "cameras": CAMERAS}[name]


def exponent_text(report: Mapping[str, Any], name: str, module: str) -> str:
    """The power of what is varied that the time grows with, by least squares; 1 is linear."""
    slope, _ = np.polyfit(np.log(xs(name)), np.log([of[module] for of in report[name]]), 1)
    return f"grows as {name}^{slope:.2f}"


def memory_text(marks_mb: Sequence[float]) -> str:
    """How much more there is at the end than after a tenth of the frames."""
    early = marks_mb[len(marks_mb) // 10]
    return f"{early:.1f} after a tenth of the frames, {marks_mb[-1]:.1f} at the end ({marks_mb[-1] - early:+.1f})"


def scaling_page(report: Mapping[str, Any]) -> str:
    """Set the page of a report."""
    sections = []
    titles = {"pixels": "pixels", "points": "attention points P", "cameras": "cameras in one step"}
    for name, title in titles.items():
        values = {module: [of[module] for of in report[name]] for module in MODULES}
        ends = (f"{xs(name)[0]:,}", f"{xs(name)[-1]:,}")
        note = "; ".join(f"{module} {exponent_text(report, name, module)}" for module in MODULES)
        rows = [
            [f"{x:,}", *(f"{of[module]:.2f}" for module in MODULES)]
            for x, of in zip(xs(name), report[name], strict=True)
        ]
        table = Table([title, *(f"{module}, ms" for module in MODULES)], rows)
        lines = Lines(f"ms by {title}", values, ends, xs(name), from_zero=True)
        sections.append(Section(f"By {title}", [lines, table], note))
    config = report["config"]
    ends = ("the first frames", f"{config['frames']:,} frames")
    memory = Lines("MiB", {"memory": report["memory_mb"]}, ends, from_zero=True)
    sections.append(Section("Memory", [memory], memory_text(report["memory_mb"])))
    facts = {"model": config["model"], "precision": config["precision"], "classes": str(config["num_classes"])}
    facts |= {"commit": report["commit"] or "not a checkout", "PyTorch": report["versions"]["torch"]}
    sections.append(Section("This run", [Facts(facts)]))
    return render_page(
        "How the cost of a stream grows", sections, subtitle=f"{report['device_name']}, {report['date'][:10]}"
    )


def _memory_now_mb(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 2**10


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sdcpc_mit_b0", help="default: %(default)s")
    parser.add_argument("--num-classes", type=int, default=19, metavar="K", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="timed steps in each setting (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=10000, help="while memory is watched (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="processor threads (default: PyTorch's own choice)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures; in a folder, under a name")
    parser.add_argument("--page", metavar="FILE", type=Path, help="draw them (HTML)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
