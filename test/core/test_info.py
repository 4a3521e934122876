import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.errors import CheckpointError, ConfigError, InputError, OutputError
from sdcpc_core.info import info
from sdcpc_core.labels import LabelSet

LABELS = LabelSet("street", ("Road", "Car"), ((128, 64, 128), (0, 0, 142)), dynamic=("Car",))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    provenance = {"data": "a street", "figures": {"val_mIoU": 61.5}, "config": {"seed": 3, "model": {"options": {}}}}
    header = CheckpointHeader("segformer_resnet18", {}, LABELS, (64, 96), provenance)
    path = tmp_path_factory.mktemp("weights") / "street.safetensors"
    save_checkpoint(path, header.build(), header, dtype=torch.float16)
    return path


def report_of(tmp_path: Path, *options: str) -> dict:
    info([*options, "--json", str(tmp_path / "info.json")])
    return json.loads((tmp_path / "info.json").read_text())


def test_the_figures_of_a_model(tmp_path, capsys):
    report = report_of(tmp_path, "--model", "sdcpc_resnet18", "--num-classes", "5", "--size", "64x96", "--frames", "3")
    assert list(report["parts"]) == ["encoder", "fusion", "DCN", "LA", "DSSA stage 1", "DSSA stage 2", "head"]
    for key in ("params", "macs", "macs_with_attention"):
        assert report[key] == sum(part[key] for part in report["parts"].values())
    assert report["macs"] < report["macs_with_attention"]
    assert report["stream"]["macs"] == sum(part["stream"]["macs"] for part in report["parts"].values())
    assert report["stream_over_clip_macs"] == pytest.approx(report["stream"]["macs"] / report["macs"], abs=1e-4)
    assert (report["size_hw"], report["frames"], report["num_classes"]) == ([64, 96], 3, 5)
    assert report["versions"]["torch"]
    shown = capsys.readouterr().out
    assert "sdcpc_resnet18, 64x96, K = 5" in shown
    assert "DSSA stage 1" in shown
    assert f"{report['params'] / 1e6:.2f}" in shown


def test_options_take_parts_away(tmp_path):
    common = ("--model", "sdcpc_resnet18", "--size", "64x64")
    whole = report_of(tmp_path, *common)
    options = ("--option", "linear_attention=false", "--option", "interleave=columns")
    less = report_of(tmp_path, *common, *options)
    assert (less["parts"]["LA"]["params"], less["parts"]["LA"]["macs"]) == (0, 0)
    assert whole["params"] - less["params"] == whole["parts"]["LA"]["params"]
    assert less["model"]["options"]["interleave"] == "columns"
    assert less["num_classes"] == 19


def test_what_a_checkpoint_holds(checkpoint, tmp_path, capsys):
    report = report_of(tmp_path, "--checkpoint", str(checkpoint))
    shown = capsys.readouterr().out
    assert report["size_hw"] == [64, 96]
    assert report["checkpoint"]["labels"] == LABELS.to_dict()
    assert report["checkpoint"]["provenance"]["figures"] == {"val_mIoU": 61.5}
    for words in ("segformer_resnet18", "0 Road #804080", "1 Car #00008e", "moving: Car", "val_mIoU 61.5", "64x96"):
        assert words in shown
    assert "stream" not in shown.lower(), "a model without references has no other cost in a stream"


def test_a_checkpoint_at_another_size(checkpoint, tmp_path):
    report = report_of(tmp_path, "--checkpoint", str(checkpoint), "--size", "128x192")
    small = report_of(tmp_path, "--checkpoint", str(checkpoint))
    assert report["macs"] == 4 * small["macs"]


def test_without_arguments_it_is_the_shipped_one(capsys):
    info([])
    assert "11 of label set camvid" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("--model", "vgg"), ConfigError, "no model 'vgg'"),
        (("--model", ""), ConfigError, "no model ''"),
        (("--model", "sdcpc_mit_b0", "--num-classes", "0"), ConfigError, "num_classes is 0"),
        (("--model", "sdcpc_mit_b0", "--option", "linear_attention=no"), ConfigError, "'no'; it must be true or false"),
        (("--model", "sdcpc_mit_b0", "--frames", "2"), ConfigError, "cannot take 2 frames; it takes 3 or 1"),
        (("--model", "segformer_mit_b0", "--frames", "3"), ConfigError, "cannot take 3 frames; it takes 1"),
        (("--model", "sdcpc_mit_b0", "--size", "31x64"), InputError, "31x64"),
        (("--num-classes", "5"), ConfigError, "go with --model"),
        (("--option", "num_points=9"), ConfigError, "go with --model"),
        (("--checkpoint", "no/such.safetensors"), CheckpointError, "no checkpoint at"),
        (("--model", "sdcpc_mit_b0", "--json", "/dev/null/info.json"), OutputError, "/dev/null"),
    ],
)
def test_what_cannot_be_shown(options, error, message, capsys):
    with pytest.raises(error, match=message):
        info(list(options))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--option", "points"],
        ["--option", "=3"],
        ["--size", "64"],
        ["--size", "99999x64"],
        ["--model", "x", "--checkpoint", "y"],
    ],
)
def test_wrong_usage(options, capsys):
    with pytest.raises(SystemExit):
        info(options)
    assert "error" in capsys.readouterr().err


def test_help_needs_no_torch():
    program = "import sys; sys.modules['torch'] = None; from sdcpc_core.info import info; info(['--help'])"
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
