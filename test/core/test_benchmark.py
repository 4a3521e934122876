"""``sdcpc benchmark``: what is measured, what is made of it, and that it runs where there is little else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sdcpc_core.benchmark import profile, timing
from sdcpc_core.benchmark.command import benchmark
from sdcpc_core.benchmark.contender_process import ContenderError
from sdcpc_core.benchmark.contenders import running
from sdcpc_core.benchmark.figures import contender_figures, ratios
from sdcpc_core.benchmark.frames import frames
from sdcpc_core.benchmark.parts import PartOfStep, SplitStep
from sdcpc_core.benchmark.profile import stream_step
from sdcpc_core.benchmark.roofline import Roofline, measure_roofline
from sdcpc_core.benchmark.setting import (
    CLIP,
    OWN_SEGFORMER,
    SEGFORMER_COMPILED,
    SEGFORMER_EAGER,
    SEGFORMER_SDPA,
    STREAM,
    Cell,
    Setting,
    suite,
)
from sdcpc_core.benchmark.timing import FEWEST_ROUNDS, PAUSE_S, Samples, time_cell
from sdcpc_core.cost import model_cost
from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.models import build_model
from sdcpc_core.report import report_place

ROOT = Path(__file__).resolve().parents[2]
SMALL = Setting("sdcpc_mit_b0", (64, 96), 5, "cpu", "fp32")
ABSENT = ("rich", "jinja2", "lightning", "torchmetrics", "jsonargparse", "av", "rosbags", "rclpy")
"""What a machine that only measures does not have; nor is the package installed there."""
SITE = f"""
import importlib.machinery, importlib.metadata

find_spec = importlib.machinery.PathFinder.find_spec

def found(name, path=None, target=None):
    return None if name in {ABSENT} else find_spec(name, path, target)

importlib.machinery.PathFinder.find_spec = found
from_name = importlib.metadata.Distribution.from_name.__func__

def installed(cls, name):
    if name in {("sdcpc_ros", *ABSENT)}:
        raise importlib.metadata.PackageNotFoundError(name)
    return from_name(cls, name)

importlib.metadata.Distribution.from_name = classmethod(installed)
"""
PARTS = ["upload", "encoder", "SSEA", "reference work", "DSSA", "head", "upsample + argmax", "download"]


@pytest.fixture
def stub(monkeypatch) -> SimpleNamespace:
    """Contenders without networks and processes: how long a step takes, the step they break down at, what they did."""
    stub = SimpleNamespace(step_ms=defaultdict(lambda: 1.0), breaks_at={}, log=[])

    class StubProcess:
        def __init__(self, name: str, setting: Setting) -> None:
            self.name, self.steps = name, 0

        def __enter__(self) -> "StubProcess":
            return self

        def __exit__(self, *error) -> None:
            stub.log.append(("end", self.name))

        def wait_for_imports(self) -> None:
            stub.log.append(("imports", self.name))

        def make_ready(self) -> float:
            self.work("ready")
            return 0.5

        def step(self) -> tuple[float, float]:
            self.steps += 1
            self.work("step")
            return stub.step_ms[self.name], 2 * stub.step_ms[self.name]

        def peak_memory_mb(self) -> float:
            return 100.0

        def work(self, what: str) -> None:
            stub.log.append((what, self.name))
            if self.steps == stub.breaks_at.get(self.name):
                raise ContenderError("RuntimeError: the compiler gave up")

    monkeypatch.setattr(timing, "ContenderProcess", StubProcess)
    return stub


def test_ratios_are_of_medians_and_against_the_fastest_peer():
    samples = {
        STREAM: Samples([1.0, 2.0, 99.0]),
        CLIP: Samples([4.0, 4.0, 4.0]),
        OWN_SEGFORMER: Samples([1.0, 1.6, 3.0]),
        SEGFORMER_EAGER: Samples([8.0, 8.0, 1.0]),
        SEGFORMER_SDPA: Samples([5.0, 5.0, 5.0]),
        SEGFORMER_COMPILED: Samples(failure="no compiler"),
    }
    assert ratios(samples) == {
        "fastest_segformer": SEGFORMER_SDPA,
        "streaming_over_clip": 0.5,
        "streaming_over_own_segformer": 1.25,
        "streaming_over_segformer": 0.4,
        "streaming_over_segformer_eager": 0.25,
    }
    assert ratios({STREAM: Samples(failure="broken"), CLIP: Samples([1.0])}) == {}


def test_figures_of_a_contender():
    figures = contender_figures(Samples([40.0, 10.0, 20.0], [7.0, 6.0, 9.0], 1.26, 99.7), cameras=4)
    assert figures["latency_ms"] == {"median": 20.0, "p25": 15.0, "p75": 30.0, "p99": 39.6}
    assert figures["frames_per_s"] == 200.0
    assert (figures["cpu_ms"], figures["peak_memory_mb"], figures["ready_s"], figures["steps"]) == (7.0, 100, 1.3, 3)


@pytest.mark.timeout(600)
def test_a_machine_that_only_measures(tmp_path):
    """Nothing but PyTorch, transformers, NumPy, OpenCV and safetensors, and a copy of the checkout."""
    pytest.importorskip("transformers")
    (tmp_path / "sitecustomize.py").write_text(SITE)
    results = tmp_path / "results"
    results.mkdir()
    command = [
        sys.executable, "-m", "sdcpc_core.benchmark", "--size", "64x96", "--num-classes", "5", "--cameras", "2",
        "--rounds", "1", "--threads", "1", "--profile", "--device", "cpu", "--json", str(results),
    ]  # fmt: skip
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "stream over fastest SegFormer" in run.stdout

    (file,) = results.iterdir()
    report = json.loads(file.read_text())
    assert report["versions"]["sdcpc_ros"] is None
    assert report["versions"]["transformers"]
    assert datetime.fromisoformat(report["date"]).tzinfo
    assert report["left_out"] == report["failed"] == []
    (cell,) = report["cells"]
    assert list(cell["results"]) == [STREAM, CLIP, OWN_SEGFORMER, SEGFORMER_EAGER, SEGFORMER_SDPA]
    assert cell["streaming_over_segformer"] >= cell["streaming_over_segformer_eager"] > 0
    for result in cell["results"].values():
        assert result["steps"] == 1
        assert result["peak_memory_mb"] > 50
    check_profile(cell)
    with torch.device("meta"):
        models = [build_model(f"{family}_mit_b0", 5) for family in ("sdcpc", "segformer")]
    ours, peer = (model_cost(model, (64, 96), 1).total.stream for model in models)
    assert cell["macs"] == {"stream": ours.to_dict(), "segformer": peer.to_dict()}
    assert cell["macs_over_segformer"] == pytest.approx(ours.macs / peer.macs, abs=1e-3)


def test_a_backbone_without_a_hugging_face_segformer(tmp_path, capsys, stub):
    stub.step_ms |= {STREAM: 3.0, OWN_SEGFORMER: 2.0}
    report = tmp_path / "benchmark.json"
    options = ["--model", "sdcpc_resnet18", "--size", "40x64", "--num-classes", "5", "--rounds", "1", "--profile"]
    benchmark([*options, "--json", str(report)])
    (cell,) = json.loads(report.read_text())["cells"]
    assert list(cell["results"]) == [STREAM, CLIP, OWN_SEGFORMER]
    assert "streaming_over_segformer" not in cell
    assert cell["streaming_over_own_segformer"] == 1.5
    check_profile(cell)
    assert "the Hugging Face SegFormer has no such backbone" in capsys.readouterr().out


def check_profile(cell: dict) -> None:
    contenders, cameras = cell["profile"]["contenders"], cell["setting"]["cameras"]
    height, width = cell["setting"]["size_hw"]
    assert set(contenders) == set(cell["results"]) - {CLIP, SEGFORMER_EAGER}
    for name, of in contenders.items():
        names = [part["name"] for part in of["parts"]]
        assert names == (PARTS if name == STREAM else [part for part in PARTS if part not in PARTS[2:5]])
        assert of["sum_ms"] == pytest.approx(sum(part["ms"]["median"] for part in of["parts"]), abs=0.01)
        # The parts leave no operation out: they are those of a frame of each camera.
        counted = cell["macs"]["stream" if name == STREAM else "segformer"]["macs_with_attention"]
        assert sum(part["macs"] for part in of["parts"]) == cameras * counted
        # A frame goes up in bytes; its labels come down in bytes.
        ends = [part["bytes"] for part in (of["parts"][0], of["parts"][-1])]
        assert ends == [cameras * 3 * height * width, cameras * height * width]


def test_the_parts_of_a_step_are_the_step():
    """Each part works on what the part before it made, and the last one's labels are those of the model."""
    torch.manual_seed(0)
    step = stream_step(SMALL)
    with running(SMALL):
        parts = {part.name: part for part in step.parts}
        static, related, refined = parts["DSSA"].run.args
        assert torch.equal(parts["SSEA"].run(), static)
        assert all(map(torch.equal, parts["reference work"].run(), (related, refined)))
        near, far = parts["reference work"].run.args
        assert not torch.equal(near, far)
        assert torch.equal(parts["head"].run(), parts["upsample + argmax"].run.args[0])
        assert torch.equal(parts["upsample + argmax"].run(), parts["download"].run())
        model = parts["encoder"].run.args[0]
        images = parts["encoder"].run.args[1]
        assert torch.equal(model.encode(images).static, static)


def test_bytes_and_floors_by_hand():
    layer = nn.Linear(8, 4)
    step = SplitStep(Setting("sdcpc_mit_b0", (64, 96), 5, "cpu", "bf16", cameras=2))
    rows = torch.ones(10, 8)
    assert torch.equal(step.part("layer", layer, rows, modules=[layer], macs=320), layer(rows))
    step.part("upload", lambda picture: torch.zeros(99), np.zeros((2, 3), np.uint8), route="upload")
    part, upload = step.parts
    # 80 numbers in, 40 out, 36 weights in half precision; two cameras.
    assert (part.macs, part.num_bytes) == (640, 4 * 80 + 4 * 40 + 2 * 36)
    assert upload.num_bytes == 6
    slow_copy, slow_product = Roofline(640e3, 552.0, 3.0, None), Roofline(64.0, 552e3, None, None)
    assert part.floor_ms(slow_copy) == pytest.approx(1000.0)
    assert part.floor_ms(slow_product) == pytest.approx(10_000.0)
    assert upload.floor_ms(slow_copy) == pytest.approx(2000.0)
    assert upload.floor_ms(slow_product) == 0, "on the CPU nothing moves"
    assert PartOfStep("download", print, 0, 9, "download").floor_ms(slow_copy) == 0


@pytest.mark.parametrize(("rounds", "timed"), [(2, 2), (9, 3)])
def test_a_profile_takes_fewer_rounds_than_the_contenders(monkeypatch, rounds, timed):
    monkeypatch.setattr(profile, "PROFILE_ROUNDS", 3)
    monkeypatch.setattr(profile, "measure_roofline", lambda device, dtype: Roofline(1e9, 1e9, None, None))
    steps = profile.profile(Setting("sdcpc_resnet18", (32, 64), 5, "cpu", "fp32"), rounds).steps
    assert list(steps) == [STREAM, OWN_SEGFORMER]
    for step in steps.values():
        assert {len(step.step_ms), *(len(part.times_ms) for part in step.parts)} == {timed}


def test_a_roofline_is_that_of_the_device():
    roofline = measure_roofline(torch.device("cpu"), torch.float32)
    assert 1e8 < roofline.macs_per_s < 1e14
    assert 1e8 < roofline.copied_bytes_per_s < 1e13
    assert roofline.uploaded_bytes_per_s is None


def test_contenders_take_turns(stub, monkeypatch):
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: stub.log.append(("pause", seconds)))
    stub.step_ms[CLIP] = 3.0
    alone = replace(SMALL, model="sdcpc_resnet18")
    samples = time_cell(Cell(alone), rounds=2)
    assert list(samples) == [STREAM, CLIP, OWN_SEGFORMER]
    assert samples[CLIP] == Samples([3.0, 3.0], [6.0, 6.0], 0.5, 100.0)
    starts = [(what, name) for what in ("imports", "ready") for name in (STREAM, CLIP, OWN_SEGFORMER)]
    steps = [("step", name) for name in (OWN_SEGFORMER, CLIP, STREAM, STREAM, CLIP, OWN_SEGFORMER)]
    ends = [("end", OWN_SEGFORMER), ("end", CLIP), ("end", STREAM)]
    pause = ("pause", PAUSE_S)
    assert stub.log == [*starts, *(entry for step in steps for entry in (step, pause)), *ends]

    stub.log.clear()
    time_cell(Cell(replace(alone, device="cuda")), rounds=2)
    assert [entry for entry in stub.log if entry[0] != "pause"] == [*starts, *steps, *ends]
    assert pause not in stub.log


def test_rounds_end_with_the_time(stub):
    assert len(time_cell(Cell(SMALL), 50, end_s=0.0)[STREAM].wall_ms) == FEWEST_ROUNDS


def test_all_contenders_see_the_same_pictures():
    once, again = frames(replace(SMALL, cameras=2)), frames(replace(SMALL, cameras=2))
    seen = [frame for _ in range(20) for frame in next(once)]
    assert all(map(np.array_equal, seen, (frame for _ in range(20) for frame in next(again))))
    assert len({frame.tobytes() for frame in seen}) == len(seen) == 40


def test_ctrl_c_ends_all_without_a_word():
    command = "import sys; from sdcpc_core.cli import main; sys.exit(main())"
    options = ["benchmark", "--size", "64x96", "--device", "cpu"]
    with subprocess.Popen(
        [sys.executable, "-c", command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as run:  # fmt: skip
        while "[1/1]" not in run.stdout.readline():
            assert run.poll() is None
        time.sleep(1.0)  # a contender imports PyTorch or is at work
        os.killpg(run.pid, signal.SIGINT)
        # Whoever is left would keep the pipes open.
        _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "")


def test_a_contender_that_breaks_down_does_so_alone(stub, tmp_path, capsys):
    stub.breaks_at |= {SEGFORMER_COMPILED: 0, CLIP: 2}
    report = tmp_path / "benchmark.json"
    with pytest.raises(SystemExit, match="segformer compiled: RuntimeError: the compiler gave up"):
        benchmark(["--size", "64x96", "--rounds", "3", "--compile", "--json", str(report)])
    figures = json.loads(report.read_text())
    (cell,) = figures["cells"]
    for name in (CLIP, SEGFORMER_COMPILED):
        assert cell["results"][name] == {"failure": "RuntimeError: the compiler gave up"}
        assert stub.log.count(("step", name)) == stub.breaks_at[name]
    assert "streaming_over_clip" not in cell
    assert cell["results"][STREAM]["steps"] == 3
    assert cell["streaming_over_segformer"] == 1.0
    assert len(figures["failed"]) == 2
    assert "failed" in capsys.readouterr().out


def test_what_the_time_does_not_suffice_for_is_left_out(stub, tmp_path, capsys):
    report = tmp_path / "benchmark.json"
    # With its pauses, the first cell takes longer.
    benchmark(["--size", "64x96", "--num-classes", "3,4,5", "--minutes", "0.01", "--json", str(report)])
    figures = json.loads(report.read_text())
    assert [cell["setting"]["num_classes"] for cell in figures["cells"]] == [3]
    assert figures["left_out"] == ["MiT-B0, 64×96, K = 4, fp32", "MiT-B0, 64×96, K = 5, fp32"]
    assert "2 of 3 settings are left out" in capsys.readouterr().out


def test_every_combination_is_measured(stub, tmp_path):
    report = tmp_path / "benchmark.json"
    options = ["--size", "40x64", "--precision", "fp32,bf16", "--points", "4,9", "--cameras", "1,3"]
    benchmark([*options, "--rounds", "1", "--json", str(report)])
    settings = [Setting.from_dict(cell["setting"]) for cell in json.loads(report.read_text())["cells"]]
    assert len({str(setting) for setting in settings}) == 8
    assert str(settings[-1]) == "MiT-B0, 40×64, K = 19, bf16, 3 cameras, P = 9"


@pytest.mark.parametrize(("name", "device"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_suites_hold_what_is_to_be_shown_once_each(name, device):
    settings = [cell.setting for cell in suite(name, device)]
    assert len(set(settings)) == len(settings)
    sizes = {"cpu": [(360, 480), (480, 853)], "gpu": [(480, 853), (1024, 2048)]}[name]
    precisions = {"cpu": ["fp32", "bf16"], "gpu": ["fp32", "bf16", "fp16"]}[name]
    wanted = {
        Setting(f"sdcpc_mit_{size}", size_hw, num_classes, device, precision, cameras)
        for size in ("b0", "b1")
        for size_hw in sizes
        for num_classes in (19, 124)
        for precision in precisions
        for cameras in {"cpu": [1], "gpu": [1, 4]}[name]
    }
    assert set(settings) == wanted
    first = suite(name, device)[0]
    assert first.profiled
    assert first.setting.model == "sdcpc_mit_b1"


def test_results_are_named_by_device_and_date(tmp_path):
    date = datetime(2026, 11, 21, tzinfo=timezone.utc)
    assert (
        report_place(tmp_path, "Intel(R) Xeon(R), 2 threads", date).name == "intel-r-xeon-r-2-threads-2026-11-21.json"
    )
    assert report_place(tmp_path / "a.json", "NVIDIA", date) == tmp_path / "a.json"
    assert report_place(None, "NVIDIA", date) is None


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "sdcpc_vgg"],
        ["--model", "segformer_mit_b0"],
        ["--precision", "int8"],
        ["--rounds", "0"],
        ["--device", "x"],
        ["--cameras", "1,0"],
        ["--num-classes", "0"],
        ["--suite", "cpu", "--size", "64x64"],
        ["--suite", "cpu", "--compile"],
        ["--points", "5"],
    ],
)
def test_settings_that_cannot_work(stub, options):
    sizes = [] if "--suite" in options else ["--size", "40x64"]
    with pytest.raises(ConfigError):
        benchmark([*sizes, *options])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_suite_for_gpus_asks_for_one():
    with pytest.raises(ConfigError, match="'cuda', but PyTorch finds no CUDA"):
        benchmark(["--suite", "gpu"])


def test_a_frame_too_small_for_the_network():
    with pytest.raises(InputError, match="16x16"):
        benchmark(["--size", "16x16"])


def test_a_report_that_cannot_be_written_costs_no_time(tmp_path, stub):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        benchmark(["--size", "64x96", "--json", str(tmp_path / "file" / "below.json")])
