import json

import pytest

from sdcpc_core.benchmark import Samples, benchmark, ratios_of
from sdcpc_core.contenders import CLIP, SEGFORMER_EAGER, SEGFORMER_SDPA, STREAM
from sdcpc_core.errors import ConfigError, InputError


def test_ratios_are_of_medians_and_against_the_fastest_peer():
    samples = {
        STREAM: Samples([1.0, 2.0, 99.0]),
        CLIP: Samples([4.0, 4.0, 4.0]),
        SEGFORMER_EAGER: Samples([8.0, 8.0, 1.0]),
        SEGFORMER_SDPA: Samples([5.0, 5.0, 5.0]),
    }
    assert ratios_of(samples) == {
        "streaming_over_clip": 0.5,
        "streaming_over_segformer": 0.4,
        "streaming_over_segformer_eager": 0.25,
    }


def test_a_run_reports_every_contender(tmp_path, capsys):
    pytest.importorskip("transformers")
    report = tmp_path / "benchmark.json"
    benchmark(["--size", "64x96", "--rounds", "2", "--threads", "1", "--json", str(report)])
    figures = json.loads(report.read_text())
    assert set(figures["results"]) == {STREAM, CLIP, SEGFORMER_EAGER, SEGFORMER_SDPA}
    for result in figures["results"].values():
        assert result["latency_ms"]["median"] > 0
        assert result["peak_memory_mb"] > 50
    assert figures["streaming_over_segformer"] >= figures["streaming_over_segformer_eager"] > 0
    assert "streaming_over_clip" in capsys.readouterr().out


def test_a_backbone_without_segformer_is_timed_beside_its_clip(tmp_path, capsys):
    report = tmp_path / "benchmark.json"
    options = ["--model", "sdcpc_resnet18", "--size", "40x64", "--rounds", "1", "--threads", "1"]
    benchmark([*options, "--json", str(report)])
    assert set(json.loads(report.read_text())["results"]) == {STREAM, CLIP}
    assert "SegFormer has no such backbone" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--model", "sdcpc_vgg"], ["--precision", "int8"], ["--rounds", "0"], ["--device", "x"]]
)
def test_settings_that_cannot_work(options):
    with pytest.raises(ConfigError):
        benchmark(["--size", "40x64", *options])


def test_a_frame_too_small_for_the_network():
    with pytest.raises(InputError, match="16x16"):
        benchmark(["--size", "16x16"])
