"""What is made of the benchmark's figures: its page, and the scripts of benchmarks/."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_page import check_page, console_of

from sdcpc_core.benchmark.page import benchmark_page
from sdcpc_core.pages.charts import Lines

ROOT = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(ROOT / "benchmarks"))
import scaling  # noqa: E402 (scripts import one another by bare name)
import speed  # noqa: E402
import startup  # noqa: E402

sys.path.remove(str(ROOT / "benchmarks"))


def contender(median_ms: float) -> dict:
    spread = {"median": median_ms, "p25": median_ms - 1, "p75": median_ms + 1, "p99": median_ms + 9}
    figures = {"frames_per_s": 1e3 / median_ms, "cpu_ms": 2 * median_ms, "peak_memory_mb": 400, "ready_s": 1.2}
    return {"latency_ms": spread, **figures, "steps": 30}


def cell(precision: str, device: str, *, cameras: int = 1) -> dict:
    part = {"name": "encoder", "ms": {"median": 4.0}, "macs": 2 * 10**9, "bytes": 3 * 10**6, "floor_ms": 1.0}
    roofline = {"macs_per_s": 2e12, "copied_bytes_per_s": 3e9}
    setting = {"model": "sdcpc_mit_b1", "size_hw": [480, 853], "num_classes": 124, "device": device}
    return {
        "setting": {**setting, "precision": precision, "cameras": cameras, "num_points": None},
        "results": {
            "stream": contender(20),
            "clip": contender(40),
            "own segformer": contender(25),
            "segformer sdpa": contender(16),
            "segformer compiled": {"failure": "RuntimeError: no compiler"},
        },
        "fastest_segformer": "segformer sdpa",
        "streaming_over_segformer": 1.25,
        "streaming_over_own_segformer": 0.8,
        "macs_over_segformer": 1.4,
        "profile": {
            "roofline": roofline,
            "contenders": {"stream": {"parts": [part], "sum_ms": 4.0, "floor_ms": 1.0, "step_ms": 5.0}},
        },
    }


def report(device: str = "cpu") -> dict:
    return {
        "device_name": "a <device>",
        "date": "2026-11-21T10:00:00+00:00",
        "threads": 2,
        "commit": "abc",
        "versions": {"torch": "2.13", "triton": None},
        "cells": [cell("fp32", device), cell("bf16", device), cell("bf16", device, cameras=4)],
        "failed": ["MiT-B1: segformer compiled: no compiler"],
        "left_out": [],
    }


def test_the_page_of_a_benchmark_needs_nothing_from_outside(tmp_path):
    html = benchmark_page(report())
    page = check_page(html)
    for text in (
        "a <device>, 2026-11-21",
        "MiT-B1, 480×853, K = 124, bf16, 4 cameras",
        "19 to 21",
        "failed",
        "MiT-B1: segformer compiled: no compiler",
        "the step as a whole",
        "25%",
        "torch 2.13",
    ):
        assert text in page.text
    # The slowest of stream, fastest SegFormer and own SegFormer is 100.
    assert [page.text.count(figure) for figure in ("80.0", "64.0", "100.0")] == [3, 3, 3]
    path = tmp_path / "benchmark.html"
    path.write_text(html, encoding="utf-8")
    assert console_of(path) == ""


def test_a_page_without_a_peer():
    alone = report()
    for of in alone["cells"]:
        for key in ("fastest_segformer", "streaming_over_segformer"):
            del of[key]
        del of["results"]["segformer sdpa"]
    check_page(benchmark_page(alone))


@pytest.fixture
def readme(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- speed cpu -->\nold\n<!-- /speed cpu -->\n<!-- speed gpu -->\n<!-- /speed gpu -->\n")
    monkeypatch.setattr(speed, "DOCUMENT", path)
    return path


def written(tmp_path: Path, device: str) -> str:
    path = tmp_path / f"{device}.json"
    path.write_text(json.dumps(report(device)))
    return str(path)


def test_the_readme_gets_the_table_of_a_device(readme, tmp_path, capsys):
    results = written(tmp_path, "cpu")
    assert speed.main([results, "--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert speed.main([results]) == 0
    assert speed.main([results, "--check"]) == 0
    lines = readme.read_text().splitlines()
    heads = "fp32: fastest | fp32: eager | fp32: own | bf16: fastest | bf16: eager | bf16: own | multiply-accumulates"
    assert f"| a <device>: stream over SegFormer | {heads} |" in lines
    assert "| MiT-B1, 480×853, K = 124 | 1.25 | – | 0.80 | 1.25 | – | 0.80 | 1.40 |" in lines
    assert "| MiT-B1, 480×853, K = 124, 4 cameras | – | – | – | 1.25 | – | 0.80 | 1.40 |" in lines
    assert "old" not in lines
    assert lines[0] == "before"


def test_rates_are_told_of_a_gpu_alone(readme, tmp_path):
    assert speed.main([written(tmp_path, "cuda")]) == 0
    text = readme.read_text()
    assert "old" in text, "the other device's table stays"
    assert "fp32: frames/s | fp32: p99, ms" in text
    assert "| 1.25 | – | 0.80 | 50 | 29.00 |" in text


def test_growth_is_measured_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "SIZES", ((32, 64), (64, 64)))
    monkeypatch.setattr(scaling, "POINTS", (1, 4))
    monkeypatch.setattr(scaling, "CAMERAS", (1, 2))
    monkeypatch.setattr(scaling, "CAMERA_SIZE", (32, 64))
    monkeypatch.setattr(scaling, "MEMORY_SIZE", (32, 64))
    results, page = tmp_path / "scaling.json", tmp_path / "scaling.html"
    options = ["--num-classes", "3", "--frames", "12", "--rounds", "1", "--device", "cpu"]
    scaling.main([*options, "--json", str(results), "--page", str(page)])
    figures = json.loads(results.read_text())
    for name in ("pixels", "points", "cameras"):
        assert len(figures[name]) == 2
        assert all(of[module] > 0 for of in figures[name] for module in ("SSEA", "DSSA"))
    assert len(figures["memory_mb"]) == 12
    assert min(figures["memory_mb"]) > 50
    text = set(check_page(page.read_text()).text)
    assert {"By pixels", "By attention points P", "By cameras in one step", "ms by pixels", "4,096"} <= text
    assert "12 frames" in text
    assert "grows as pixels^" in capsys.readouterr().out


def test_growth_by_hand():
    figures = {"cameras": [{"SSEA": 2.0 * n, "DSSA": 3.0 * n**2} for n in scaling.CAMERAS]}
    assert scaling.exponent_text(figures, "cameras", "SSEA") == "grows as cameras^1.00"
    assert scaling.exponent_text(figures, "cameras", "DSSA") == "grows as cameras^2.00"
    marks_mb = [90.0, *[100.0] * 18, 101.5]
    assert scaling.memory_text(marks_mb) == "100.0 after a tenth of the frames, 101.5 at the end (+1.5)"


def test_points_of_a_line_stand_where_they_belong():
    chart = Lines("ms", {"a": [10.0, 20.0, 40.0]}, ("1", "4"), places=[1, 2, 4], from_zero=True)
    assert chart.ticks[0] == ("0", 100.0)
    assert chart.ticks[-1] == ("40", 0.0)
    assert chart.paths == ["M0.00 75.00H0.00L33.33 50.00L100.00 0.00"]


def test_seconds_to_the_first_frame():
    table = startup.startup_table(np.array([[4.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]]))
    assert [row[1:] for row in table.rows] == [
        ["4.00", "2.00"], ["1.00", "1.00"], ["2.00", "1.00"], ["3.00", "1.00"], ["10.00", "5.00"],
    ]  # fmt: skip


def test_a_start_is_timed_in_its_own_process(capsys):
    startup.main(["--runs", "1", "--size", "64x96", "--device", "cpu"])
    rows = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("| ---")]
    assert len(rows) == 1 + len(startup.PHASES) + 1
    assert "weights" in rows[3]
