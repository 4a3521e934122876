"""Contenders timed in turn, so that a change of the machine's speed meets all alike."""

import gc
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch

from sdcpc_core.benchmark.contenders import Step, build_contender
from sdcpc_core.benchmark.frames import frames
from sdcpc_core.benchmark.setting import SEGFORMER_COMPILED, Cell, Setting
from sdcpc_core.errors import SdcpcError

WARM_UP_STEPS = 8
"""Enough for a stream to fill its cache."""
MEMORY_STEPS = 10
FEWEST_ROUNDS = 3
"""Also where the time is up."""


@dataclass
class Samples:
    """Durations of one contender's steps (ms): as a user waits, and as the processor works.

    Attributes:
        wall_ms: one per step.
        cpu_ms: of all threads together, one per step.
        ready_s: from nothing to the end of its first step, compiling and all.
        peak_memory_mb: of a process of its own on the CPU, of what PyTorch allocates on CUDA (MiB).
        failure: what went wrong, if something did; there are no durations then.
    """

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    ready_s: float = 0.0
    peak_memory_mb: float = 0.0
    failure: str = ""


def time_cell(cell: Cell, rounds: int, *, end_s: float = float("inf")) -> dict[str, Samples]:
    """Time all contenders of a cell.

    Args:
        cell: see there.
        rounds: timed steps of each contender.
        end_s: on ``time.monotonic()``'s clock; rounds that would begin later are left out, beyond the fewest.

    Returns:
        Samples by contender. One that breaks down, as a compiler may, fails alone, and prints its traceback.

    Raises:
        MissingDependencyError: transformers is not installed.
    """
    setting = cell.setting
    samples = {name: Samples() for name in cell.contenders}
    steps = {name: step for name in samples if (step := _made_ready(name, setting, samples[name]))}
    pictures = frames(setting)
    for turn in range(rounds):
        if turn >= FEWEST_ROUNDS and time.monotonic() > end_s:
            break
        for name in list(steps)[:: 1 if turn % 2 else -1]:
            batch = next(pictures)
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            steps[name](batch)
            samples[name].wall_ms.append((time.perf_counter() - wall_s) * 1e3)
            samples[name].cpu_ms.append((time.process_time() - cpu_s) * 1e3)
    if not setting.device.startswith("cuda"):
        for name in steps:
            samples[name].peak_memory_mb = process_memory_mb(name, setting)
    return samples


def _made_ready(name: str, setting: Setting, samples: Samples) -> Step | None:
    """Build a contender and warm it up; None where that fails."""
    on_cuda = setting.device.startswith("cuda")
    pictures = frames(setting)
    if name == SEGFORMER_COMPILED:
        # Of an earlier cell's network nothing is of use, and PyTorch stops compiling after a number of them.
        torch.compiler.reset()
    before_mb = _start_of_allocation_mb(setting.device) if on_cuda else 0.0
    start_s = time.perf_counter()
    try:
        step = build_contender(name, setting)
        step(next(pictures))
        samples.ready_s = time.perf_counter() - start_s
        for _ in range(WARM_UP_STEPS):
            step(next(pictures))
    except SdcpcError:
        raise
    except Exception as err:
        traceback.print_exc()
        samples.failure = f"{type(err).__name__}: {err}".partition("\n")[0]
        return None
    if on_cuda:
        samples.peak_memory_mb = torch.cuda.max_memory_allocated(setting.device) / 2**20 - before_mb
    return step


def _start_of_allocation_mb(device: str) -> float:
    # What earlier contenders left must not be freed while this one is measured.
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device) / 2**20


def process_memory_mb(name: str, setting: Setting) -> float:
    """Peak memory (MiB) of a process that runs one contender: in a shared one, only the hungriest would show."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory_mb, (name, setting, torch.get_num_threads()))


def _peak_memory_mb(name: str, setting: Setting, threads: int) -> float:
    torch.set_num_threads(threads)
    step, pictures = build_contender(name, setting), frames(setting)
    for _ in range(MEMORY_STEPS):
        step(next(pictures))
    # Not getrusage: its high-water mark survives exec, so that a child starts with its parent's.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
