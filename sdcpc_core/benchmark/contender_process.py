"""A contender in a process of its own, as users run it: in a shared one, what others have freed changes its time."""

import signal
import time
import traceback
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from sdcpc_core.benchmark.contenders import WARM_UP_STEPS, build_contender
from sdcpc_core.benchmark.frames import frames
from sdcpc_core.benchmark.hugging_face import segformer_classes
from sdcpc_core.benchmark.setting import HUGGING_FACE, Setting
from sdcpc_core.errors import SdcpcError

SPAWN = get_context("spawn")
"""What is forked can use neither CUDA nor the threads of OpenMP."""
PATIENCE_S = 2.0
"""How long a process may take to end by itself; a compiler would take longer."""


class ContenderError(Exception):
    """A contender broke down, or its process died; the message is one line."""


class ContenderProcess:
    """Runs one contender, with as many threads as this process uses; a context manager that leaves no process behind.

    Each method raises an SdcpcError as the contender raised it, and a ContenderError for all else, whose traceback the
    process prints. After either the process has ended.

    Args:
        name: of the contender.
        setting: see there.
    """

    def __init__(self, name: str, setting: Setting) -> None:
        self._connection, self._far_end = SPAWN.Pipe()
        arguments = (self._far_end, name, setting, torch.get_num_threads())
        self._process = SPAWN.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> "ContenderProcess":
        # Ctrl-C goes to all, and is for one to answer; what a process ignores, those that it starts ignore from birth.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        # Open in the other process alone, it closes when that dies.
        self._far_end.close()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._end()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait_for_imports(self) -> None:
        """Return once it has imported what it needs, which processes do side by side. To be called first, and once."""
        self._receive()

    def make_ready(self) -> float:
        """Build the contender and warm it up.

        Returns:
            From nothing to the end of its first step, without imports (s).
        """
        return self._ask("make_ready")

    def step(self) -> tuple[float, float]:
        """Do the next step.

        Returns:
            How long a user waits, and how long the processor works, all threads together (ms).
        """
        return self._ask("step")

    def peak_memory_mb(self) -> float:
        """Most memory so far: of the process on the CPU, of what PyTorch allocates on CUDA (MiB)."""
        return self._ask("peak_memory_mb")

    def _ask(self, request: str) -> Any:
        with suppress(ConnectionError):  # why there is none, its end will tell
            self._connection.send(request)
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._end()
            code = self._process.exitcode
            cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise ContenderError(f"its process {cause}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> None:
        # At the end of the pipe it ends by itself, after its step.
        self._process.join(PATIENCE_S)
        self._process.terminate()
        self._process.join()


class _Contender:
    """Answers the requests inside the process."""

    def __init__(self, name: str, setting: Setting) -> None:
        self._name, self._setting = name, setting
        self._device = torch.device(setting.device)
        self._pictures = frames(setting)

    def import_all(self) -> None:
        if self._name in HUGGING_FACE:
            segformer_classes()

    def make_ready(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device.index or 0)
        start_s = time.perf_counter()
        self._step = build_contender(self._name, self._setting)
        self._step(next(self._pictures))
        ready_s = time.perf_counter() - start_s
        for _ in range(WARM_UP_STEPS):
            self._step(next(self._pictures))
        return ready_s

    def step(self) -> tuple[float, float]:
        batch = next(self._pictures)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        self._step(batch)
        return (time.perf_counter() - wall_s) * 1e3, (time.process_time() - cpu_s) * 1e3

    def peak_memory_mb(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        # Not getrusage: its high-water mark survives exec, so that a child starts with its parent's.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def _serve(connection: Connection, name: str, setting: Setting, threads: int) -> None:
    torch.set_num_threads(threads)
    contender = _Contender(name, setting)
    answer = _answer(contender, "import_all")
    with suppress(EOFError, ConnectionError):  # the other process has died
        connection.send(answer)
        while not isinstance(answer, Exception):
            answer = _answer(contender, connection.recv())
            connection.send(answer)


def _answer(contender: _Contender, request: str) -> Any:
    try:
        return getattr(contender, request)()
    except SdcpcError as err:
        return err
    except Exception as err:
        traceback.print_exc()
        return ContenderError(f"{type(err).__name__}: {err}".partition("\n")[0])
