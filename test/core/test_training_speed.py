"""benchmarks/training_speed.py: what limits a training."""

import sys
from pathlib import Path

import pytest
from fake_camvid import write_camvid

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from sdcpc_core.models.sdcpc import SDCPC
from sdcpc_core.training.config import parse_config

ROOT = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(ROOT / "benchmarks"))
import training_speed  # noqa: E402 (a script imports its neighbours by bare name)

sys.path.remove(str(ROOT / "benchmarks"))

SMALL = [
    "--model.name=sdcpc_mit_b0", "--model.options={channels: 32}", "--data.crop_hw=[32, 64]", "--data.batch_size=2",
    "--data.synthetic_fraction=0", "--device=cpu", "--precision=fp32",
]  # fmt: skip


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_step_is_that_of_the_phase(monkeypatch):
    config, _ = parse_config(SMALL)
    aligned = []
    aggregate = SDCPC.aggregate
    monkeypatch.setattr(SDCPC, "aggregate", lambda self, *states: aligned.append(1) or aggregate(self, *states))

    single = training_speed.step_cost(config, num_classes=3, num_frames=1, steps=1, clock="wall")
    assert not aligned, "the phase of single frames has no references"
    clips = training_speed.step_cost(config, num_classes=3, num_frames=3, steps=1, clock="processor")
    assert len(aligned) == training_speed.WARM_UP_STEPS + 1
    for cost in (single, clips):
        assert cost.samples_per_s > 0
        assert cost.peak_memory_mb > 100, "PyTorch alone takes more"
        assert cost.precision == "32-true"


def test_tables_of_a_model_without_references(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # for the processes that measure
    root = write_camvid(tmp_path)
    training_speed.main([
        *SMALL, "--model.options={}", f"--data.root={root}", "--models", "segformer_mit_b0", "--workers", "0",
        "--seconds", "0.01", "--steps", "1",
    ])  # fmt: skip
    loader, step = (block.splitlines() for block in capsys.readouterr().out.split("\n\n")[1::2])
    assert cells(loader[-1])[:2] == ["0%", "0"]
    assert all(float(rate) > 0 for rate in cells(loader[-1])[2:])
    assert cells(step[-1])[:4] == ["segformer_mit_b0", "32-true", "32×64", "2"]
    assert cells(step[-1])[6:] == ["–", "–"], "it takes no clips"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--num-classes", "3", "--crops", "100x100"], "multiples of 32"),
        (["--num-classes", "300"], "1..255"),
        (["--num-classes", "3", "--steps", "0"], "at least 1"),
        (["--clock", "processor"], "--workers 0"),
        (["--no.such.key", "1"], "no.such.key"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, complaint):
    with pytest.raises(SystemExit, match=complaint) as caught:
        training_speed.main([*SMALL, *arguments])
    assert "\n" not in str(caught.value)
