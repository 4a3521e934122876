"""A contender of ``sdcpc benchmark`` in a process of its own, and how such a process ends."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sdcpc_core.benchmark import contender_process
from sdcpc_core.benchmark.contender_process import ContenderError, ContenderProcess
from sdcpc_core.benchmark.contenders import WARM_UP_STEPS
from sdcpc_core.benchmark.setting import CLIP, STREAM, Setting
from sdcpc_core.errors import ConfigError

SMALL = Setting("sdcpc_mit_b0", (64, 96), 5, "cpu", "fp32")


def test_a_contender_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what it would use without being told
    with ContenderProcess(STREAM, SMALL) as process:
        process.wait_for_imports()
        assert 0 < process.make_ready() < 60
        start_s = time.perf_counter()
        steps = [process.step() for _ in range(5)]
        elapsed_ms = (time.perf_counter() - start_s) * 1e3
        wall_ms, cpu_ms = map(sum, zip(*steps, strict=True))
        assert elapsed_ms / 2 < wall_ms < elapsed_ms
        assert wall_ms / 20 < cpu_ms < 3 * wall_ms
        peak_mb = process.peak_memory_mb()
        status = Path(f"/proc/{process.pid}/status").read_text()
        facts = dict(line.split(":", 1) for line in status.splitlines())
        assert peak_mb == pytest.approx(int(facts["VmHWM"].split()[0]) / 2**10, rel=0.01)
        assert int(facts["Threads"]) >= 3

        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ContenderError, match=r"^its process was ended by SIGKILL$"):
            process.step()
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_contender_that_cannot_be_built(capfd):
    with ContenderProcess(CLIP, replace(SMALL, cameras=0)) as process:
        process.wait_for_imports()
        with pytest.raises(ContenderError, match=r"^IndexError: list index out of range$"):
            process.make_ready()
    assert "contenders.py" in capfd.readouterr().err, "a traceback"
    with ContenderProcess(STREAM, replace(SMALL, precision="fp1")) as process:
        process.wait_for_imports()
        with pytest.raises(ConfigError, match="precision is 'fp1'"):
            process.make_ready()
    assert capfd.readouterr().err == ""


def test_a_contender_that_breaks_down_at_a_timed_step(monkeypatch, capsys):
    """What is done in its process, here without one."""
    fine_steps = iter(range(1 + WARM_UP_STEPS + 2))

    def step(batch):
        if next(fine_steps, None) is None:
            raise RuntimeError("no memory\nand said more")

    monkeypatch.setattr(contender_process, "build_contender", lambda name, setting: step)
    near, far = contender_process.SPAWN.Pipe()
    for request in ("make_ready", *["step"] * 4):
        near.send(request)
    contender_process._serve(far, STREAM, SMALL, 1)
    far.close()
    imported, ready_s, *steps, failure = (near.recv() for _ in range(5))
    assert imported is None
    assert ready_s > 0
    assert [len(step) for step in steps] == [2, 2]
    assert isinstance(failure, ContenderError)
    assert str(failure) == "RuntimeError: no memory"
    assert "and said more" in capsys.readouterr().err
