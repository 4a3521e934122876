"""The command ``sdcpc benchmark``: streaming SD-CPC beside SegFormer and beside its own clip form, in one run."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdcpc_core.arguments import size_hw
from sdcpc_core.errors import ConfigError

if TYPE_CHECKING:
    from sdcpc_core.contenders import Setting

WARM_UP_STEPS = 8
"""Enough for a stream to fill its cache."""
MEMORY_STEPS = 10


@dataclass
class Samples:
    """Durations of one contender's steps (ms): as a user waits, and as the processor works."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    peak_memory_mb: float = 0.0


def benchmark(argv: list[str]) -> None:
    """Time streaming SD-CPC beside the Hugging Face SegFormer, from bytes to labels, in one run."""
    arguments = _parse(argv)
    import torch

    from sdcpc_core.report import check_report, device_name, run_facts, write_report

    check_report(arguments.json)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    setting, names = _setting(arguments)
    samples = measure(setting, names, arguments.rounds, arguments.threads)
    ratios = {key: round(value, 3) for key, value in ratios_of(samples).items()}
    hardware = device_name(torch.device(setting.device))
    _show(setting, hardware, samples, ratios)
    if arguments.json:
        report = {
            **run_facts(vars(arguments)),
            "setting": asdict(setting),
            "device_name": hardware,
            "threads": torch.get_num_threads(),
            "results": {name: _summary(s) for name, s in samples.items()},
            **ratios,
        }
        write_report(arguments.json, report)


def measure(setting: "Setting", names: list[str], rounds: int, threads: int | None) -> dict[str, Samples]:
    """Run every contender ``rounds`` times in turn, so that a change of the machine's speed meets all alike.

    Raises:
        ConfigError: a contender that cannot be built.
    """
    from sdcpc_core.contenders import build_contender
    from sdcpc_core.progress import progress

    frames = _frames(setting.size_hw)
    steps = {name: build_contender(name, setting) for name in names}
    samples = {name: Samples() for name in names}
    turns = [(r, name) for r in range(-WARM_UP_STEPS, rounds) for name in (names if r % 2 else names[::-1])]
    with progress(turns, "timing") as timed:
        for turn, name in timed:
            frame = next(frames)
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            steps[name](frame)
            wall_ms, cpu_ms = (time.perf_counter() - wall_s) * 1e3, (time.process_time() - cpu_s) * 1e3
            if turn >= 0:
                samples[name].wall_ms.append(wall_ms)
                samples[name].cpu_ms.append(cpu_ms)
    del steps
    with progress(names, "memory") as measured:
        for name in measured:
            # A process each: in a shared one, only the hungriest contender would show.
            with get_context("spawn").Pool(1) as pool:
                samples[name].peak_memory_mb = pool.apply(_peak_memory_mb, (name, setting, threads))
    return samples


def ratios_of(samples: Mapping[str, Samples]) -> dict[str, float]:
    """Ratios of median wall times, streaming SD-CPC over each peer; below 1 the stream is faster."""
    from sdcpc_core.contenders import CLIP, SEGFORMER_EAGER, STREAM

    median_ms = {name: float(np.median(s.wall_ms)) for name, s in samples.items()}
    segformers_ms = [value for name, value in median_ms.items() if name.startswith("segformer")]
    ratios = {"streaming_over_clip": median_ms[STREAM] / median_ms[CLIP]}
    if segformers_ms:
        ratios["streaming_over_segformer"] = median_ms[STREAM] / min(segformers_ms)
        ratios["streaming_over_segformer_eager"] = median_ms[STREAM] / median_ms[SEGFORMER_EAGER]
    return ratios


def _setting(arguments: argparse.Namespace) -> "tuple[Setting, list[str]]":
    from sdcpc_core.contenders import CLIP, SEGFORMER_COMPILED, SEGFORMER_EAGER, SEGFORMER_SDPA, STREAM, Setting
    from sdcpc_core.models.video_model import check_size
    from sdcpc_core.streaming import find_device

    check_size(arguments.size)
    device = str(find_device(arguments.device))
    setting = Setting(arguments.model, arguments.size, arguments.num_classes, device, arguments.precision)
    names = [STREAM, CLIP]
    if setting.mit_size is None:
        print(f"SegFormer has no such backbone as {setting.model}'s: the stream is timed beside its clip alone")
    else:
        names += [SEGFORMER_EAGER, SEGFORMER_SDPA] + [SEGFORMER_COMPILED] * arguments.compile
    return setting, names


def _frames(size_hw: tuple[int, int]) -> Iterator[np.ndarray]:
    # Coarse random blocks that slide: cheap to make, and every frame differs from the last.
    height, width = size_hw
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (height // 16 + 9, width // 16 + 9, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    step = 0
    while True:
        step = (step + 3) % 128
        yield np.ascontiguousarray(picture[step : step + height, step : step + width])


def _peak_memory_mb(name: str, setting: "Setting", threads: int | None) -> float:
    import torch

    from sdcpc_core.contenders import build_contender

    if threads:
        torch.set_num_threads(threads)
    step, frames = build_contender(name, setting), _frames(setting.size_hw)
    for _ in range(MEMORY_STEPS):
        step(next(frames))
    if setting.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(setting.device) / 2**20
    # Not getrusage: its high-water mark survives exec, so that a child starts with its parent's.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def _summary(samples: Samples) -> dict[str, Any]:
    low, median, high, p99 = np.percentile(samples.wall_ms, [25, 50, 75, 99])
    return {
        "latency_ms": {
            "median": round(median, 2), "p25": round(low, 2), "p75": round(high, 2), "p99": round(p99, 2)
        },
        "cpu_ms": round(float(np.median(samples.cpu_ms)), 2),
        "peak_memory_mb": round(samples.peak_memory_mb),
        "steps": len(samples.wall_ms),
    }  # fmt: skip


def _show(setting: "Setting", hardware: str, samples: Mapping[str, Samples], ratios: Mapping[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    height, width = setting.size_hw
    title = f"{setting.model}, {height}x{width}, K = {setting.num_classes}, {setting.precision}, {hardware}"
    table = Table(title=title)
    for heading in ("", "median ms", "middle half", "processor ms", "peak memory MB"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, figures in samples.items():
        row = _summary(figures)
        latency = row["latency_ms"]
        spread = f"{latency['p25']:.0f} to {latency['p75']:.0f}"
        table.add_row(name, f"{latency['median']:.1f}", spread, f"{row['cpu_ms']:.0f}", f"{row['peak_memory_mb']:.0f}")
    console = Console()
    console.print(table)
    for key, value in ratios.items():
        console.print(f"{key}: {value:.3f}")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc benchmark", description=benchmark.__doc__)
    parser.add_argument("--model", default="sdcpc_mit_b0", help="default: %(default)s")
    parser.add_argument("--size", type=size_hw, default=(480, 853), metavar="HxW", help="frame size (default: 480x853)")
    parser.add_argument("--num-classes", type=int, default=19, metavar="K", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="timed steps of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="processor threads (default: PyTorch's own choice)")
    parser.add_argument(
        "--compile", action="store_true", help="also SegFormer under torch.compile, which takes minutes"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what the terminal shows")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or (arguments.threads is not None and arguments.threads < 1) or arguments.num_classes < 1:
        raise ConfigError("--rounds, --threads and --num-classes must be at least 1")
    return arguments


if __name__ == "__main__":
    benchmark(sys.argv[1:])
