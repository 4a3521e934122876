"""Contenders timed in turn, so that a change of the machine's speed meets all alike."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sdcpc_core.benchmark.contender_process import ContenderError, ContenderProcess
from sdcpc_core.benchmark.setting import Cell

FEWEST_ROUNDS = 3
"""Also where the time is up."""
PAUSE_S = 0.02
"""After each step on the CPU: before they sleep, idle threads of OpenMP spin for some milliseconds, on the cores that
the next contender needs."""


@dataclass
class Samples:
    """Durations of one contender's steps (ms): as a user waits, and as the processor works.

    Attributes:
        wall_ms: one per step.
        cpu_ms: of all threads together, one per step.
        ready_s: from nothing to the end of its first step, compiling and all.
        peak_memory_mb: of its process on the CPU, of what PyTorch allocates on CUDA (MiB).
        failure: what went wrong, if something did; there are no durations then.
    """

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    ready_s: float = 0.0
    peak_memory_mb: float = 0.0
    failure: str = ""


def time_cell(cell: Cell, rounds: int, *, end_s: float = float("inf")) -> dict[str, Samples]:
    """Time all contenders of a cell, each in a process of its own, never two at once.

    Args:
        cell: see there.
        rounds: timed steps of each contender.
        end_s: on ``time.monotonic()``'s clock; rounds that would begin later are left out, beyond the fewest.

    Returns:
        Samples by contender. One that breaks down, as a compiler may, fails alone, and prints its traceback; so does
        one whose process dies, as for want of memory.

    Raises:
        MissingDependencyError: transformers is not installed.
    """
    samples = {name: Samples() for name in cell.contenders}
    processes: dict[str, ContenderProcess] = {}
    pause_s = 0.0 if cell.setting.device.startswith("cuda") else PAUSE_S

    @contextmanager
    def failing_alone(name: str) -> Iterator[None]:
        try:
            yield
        except ContenderError as err:
            samples[name] = Samples(failure=str(err))
            del processes[name]

    with ExitStack() as stack:
        for name in samples:
            processes[name] = stack.enter_context(ContenderProcess(name, cell.setting))
        for name in list(processes):
            with failing_alone(name):
                processes[name].wait_for_imports()
        for name in list(processes):
            with failing_alone(name):
                samples[name].ready_s = processes[name].make_ready()
        for turn in range(rounds):
            if turn >= FEWEST_ROUNDS and time.monotonic() > end_s:
                break
            for name in list(processes)[:: 1 if turn % 2 else -1]:
                with failing_alone(name):
                    wall_ms, cpu_ms = processes[name].step()
                    samples[name].wall_ms.append(wall_ms)
                    samples[name].cpu_ms.append(cpu_ms)
                time.sleep(pause_s)
        for name in list(processes):
            with failing_alone(name):
                samples[name].peak_memory_mb = processes[name].peak_memory_mb()
    return samples
