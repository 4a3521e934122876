import argparse
import json
import os
import subprocess
from pathlib import Path

import pytest

from sdcpc_core.arguments import size_hw
from sdcpc_core.errors import OutputError
from sdcpc_core.report import check_report, commit, holds_report, latency_ms, run_facts, write_report


def test_a_report_says_what_made_it(tmp_path):
    path = tmp_path / "new" / "report.json"
    write_report(path, {**run_facts({"checkpoint": Path("weights.safetensors"), "alpha": 0.5}), "mIoU": 50.0})
    report = json.loads(path.read_text())
    assert report["format_version"] == 1
    assert report["config"] == {"checkpoint": "weights.safetensors", "alpha": 0.5}
    assert {"sdcpc_ros", "python", "torch", "numpy", "opencv"} == set(report["versions"])
    assert report["mIoU"] == 50.0


def test_a_report_replaces_the_one_before_or_leaves_it(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, {"run": 1})
    write_report(path, {"run": 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(path, {"run": float("nan")})
    assert json.loads(path.read_text()) == {"run": 2}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        write_report(path / "below.json", {})


def test_a_report_replaces_no_folder_and_no_device(tmp_path):
    with pytest.raises(OutputError, match="folder"):
        write_report(tmp_path, {})
    check_report(Path(os.devnull))
    write_report(os.devnull, {})
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(("name", "out"), [("a.mp4", "a.mp4"), ("new/../a.mp4", "a.mp4"), ("a", "a/b")])
def test_a_report_does_not_replace_its_result(tmp_path, name, out):
    with pytest.raises(OutputError, match="different names"):
        check_report(tmp_path / name, out=tmp_path / out)
    check_report(tmp_path / "out" / "report.json", out=tmp_path / "out")
    check_report(None, out=tmp_path / out)


def test_a_result_is_known_by_its_report(tmp_path):
    assert not holds_report(tmp_path)
    for report in ("{", "[]", '{"versions": {"coverage": "7"}}'):
        (tmp_path / "report.json").write_text(report)
        assert not holds_report(tmp_path)
    write_report(tmp_path / "report.json", run_facts({}))
    assert holds_report(tmp_path)


def test_the_commit_is_that_of_this_package():
    git = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()
    assert commit() is None or commit().removesuffix("-dirty") == head


def test_latency_percentiles():
    assert latency_ms([]) == {"median": None, "p99": None}
    assert latency_ms([float(i) for i in range(101)]) == {"median": 50.0, "p99": 99.0}


def test_sizes_are_height_then_width():
    assert size_hw("360x480") == (360, 480)
    with pytest.raises(argparse.ArgumentTypeError, match="height x width"):
        size_hw("360")
