import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from fake_camvid import write_camvid, write_frame
from fake_data_sets import WRITERS, write_cityscapes

from sdcpc_core import evaluation
from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.evaluation import evaluate, score
from sdcpc_core.info import info
from sdcpc_core.labels import CAMVID, LabelSet
from sdcpc_core.metrics import Scores


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_camvid(tmp_path_factory.mktemp("camvid"))


def random_weights(path, labels=CAMVID, name="sdcpc_mit_b0"):
    header = CheckpointHeader(name, {}, labels, (64, 96))
    torch.manual_seed(0)
    save_checkpoint(path, header.build(), header)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_weights(tmp_path_factory.mktemp("checkpoint") / "random.safetensors")


def arguments(checkpoint, root, *more) -> list[str]:
    return ["--checkpoint", str(checkpoint), "--data", "camvid", "--root", str(root), "--device", "cpu", *more]


def test_a_video_is_scored_with_references_and_without(checkpoint, root, tmp_path, capsys):
    report_path, out = tmp_path / "report.json", tmp_path / "out"
    evaluate(arguments(checkpoint, root, "--json", str(report_path), "--out", str(out)))
    report = json.loads(report_path.read_text())
    assert report["frames"] == 7
    assert report["reference_offsets"] == [3, 6]
    for figures in (report, report["self"]):
        assert 0 <= figures["mIoU"] <= 100
        assert figures["IoU"]["Pole"] is None, "absent from the ground truth"
        assert figures["mVC8"] is None, "seven frames have no window of eight"
        assert 0 < figures["TC"] <= 100
        assert figures["fps"] == pytest.approx(1e3 / figures["latency_ms"]["median"], rel=0.01)
    assert report["TC_flow"].startswith("DIS")
    assert report["TC_masks"].keys() == {"TC", "TC_unoccluded"}
    gain = report["references_minus_self"]
    assert (gain["blocks"], gain["mIoU"]["low"]) == (1, None), "seven frames are one block"
    assert gain["mIoU"]["value"] == pytest.approx(report["mIoU"] - report["self"]["mIoU"], abs=0.011)
    assert json.loads((out / "report.json").read_text()) == report
    label_map = cv2.imread(str(out / "labels" / "0016E5_07959.png"), cv2.IMREAD_UNCHANGED)
    assert label_map.shape == (64, 96)
    for name in ("references", "self"):
        figures = Scores(dict(np.load(out / f"blocks_{name}.npz"))).figures()
        assert figures["WIoU"] == pytest.approx((report["self"] if name == "self" else report)["WIoU"], abs=0.006)
    shown = capsys.readouterr().out
    assert "references" in shown
    assert "self" in shown


def test_a_per_frame_model_is_scored_once_and_as_a_video(root, tmp_path):
    report_path = tmp_path / "report.json"
    segformer = random_weights(tmp_path / "segformer.safetensors", name="segformer_mit_b0")
    evaluate(arguments(segformer, root, "--json", str(report_path)))
    report = json.loads(report_path.read_text())
    assert report["reference_offsets"] == []
    assert {key: report[key] for key in report["self"]} == report["self"]
    assert "mVC8" in report


def test_frames_a_second_apart_are_no_video(checkpoint, root, tmp_path, capsys):
    report_path = tmp_path / "report.json"
    evaluate(arguments(checkpoint, root, "--split", "train", "--json", str(report_path)))
    report = json.loads(report_path.read_text())
    assert report["reference_offsets"] == []
    assert "mVC8" not in report
    assert "TC" not in report
    assert "references_minus_self" not in report
    assert report["mIoU"] == report["self"]["mIoU"]
    assert "1.0 s apart" in capsys.readouterr().out


def test_the_report_tells_what_the_model_costs(checkpoint, root, tmp_path):
    report_path, info_path = tmp_path / "report.json", tmp_path / "info.json"
    evaluate(arguments(checkpoint, root, "--json", str(report_path), "--no-flow"))
    info(["--checkpoint", str(checkpoint), "--size", "64x96", "--json", str(info_path)])
    report, told = json.loads(report_path.read_text()), json.loads(info_path.read_text())
    for key in ("params", "macs", "macs_with_attention", "stream"):
        assert report[key] == told[key]
    assert report["working_size_hw"] == told["size_hw"]
    assert "thread" in report["device_name"]
    assert not report.keys() & {"TC", "TC_flow", "TC_unoccluded"}


def test_a_missing_library_is_told_before_the_work(checkpoint, root):
    program = """
import sys
sys.modules["torchmetrics"] = None  # makes the import fail
from sdcpc_core.cli import main
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "evaluate", *arguments(checkpoint, root)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "torchmetrics" in result.stderr
    assert "'.[train]'" in result.stderr


def test_a_perfect_answer_scores_a_hundred(root):
    data = open_data_set("camvid", root, "val")
    labelled = ((frame, np.where(frame.label_map == 255, 0, frame.label_map)) for frame in data)
    figures = score(labelled, CAMVID, is_video=True).figures()
    assert figures["mIoU"] == figures["WIoU"] == figures["pixel_accuracy"] == 100
    assert np.isnan(figures["mVC16"])


def test_weights_of_other_classes_are_refused(root, tmp_path):
    other = LabelSet("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)))
    checkpoint = random_weights(tmp_path / "two.safetensors", other)
    with pytest.raises(ConfigError, match="'two'"):
        evaluate(arguments(checkpoint, root))


@pytest.mark.parametrize("kind", ["cityscapes", "vspw", "folder"])
def test_every_kind_of_data_is_scored(kind, tmp_path):
    root = WRITERS[kind](tmp_path / "data")
    labels = open_data_set(kind, root, "val").labels
    checkpoint = random_weights(tmp_path / "random.safetensors", labels)
    run = arguments(checkpoint, root, "--out", str(tmp_path / "out"))
    evaluate([kind if value == "camvid" else value for value in run])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    scored, written, dense = {
        "cityscapes": (2, "frankfurt_000000_000576.png", False),
        "vspw": (10, "2_b/00000005.png", True),
        "folder": (4, "hall/frame7.png", False),
    }[kind]
    assert report["frames"] == scored
    assert report["reference_offsets"] == [3, 6]
    assert ("mVC8" in report) == dense, "consistency needs consecutive labels"
    pictures = list((tmp_path / "out" / "labels").rglob("*.png"))
    assert len(pictures) == scored, "only labelled frames"
    assert tmp_path / "out" / "labels" / written in pictures


def test_references_of_a_sparse_video_are_its_own_frames(tmp_path, monkeypatch):
    seen = []
    root = write_cityscapes(tmp_path / "data")
    data = open_data_set("cityscapes", root, "val")
    checkpoint = random_weights(tmp_path / "random.safetensors", data.labels)

    label = evaluation.label

    def recorded(segmenter, frames, **options):
        frames = list(frames)
        seen.append([frame.stamp_ns for frame in frames])
        return label(segmenter, frames, **options)

    monkeypatch.setattr(evaluation, "label", recorded)
    run = [str(checkpoint), "--data", "cityscapes", "--root", str(root), "--device", "cpu"]
    evaluate(["--checkpoint", *run])
    with_references, alone = seen
    assert with_references == [data.records[index].stamp_ns for index in (*range(13, 20), *range(43, 50))]
    assert alone == [data.records[index].stamp_ns for index in (19, 49)]


def test_an_older_result_is_kept(checkpoint, root, tmp_path):
    with pytest.raises(OutputError, match="exists"):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path)))
    with pytest.raises(OutputError, match="folder and no earlier result"):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path), "--overwrite"))
    with pytest.raises(OutputError, match="different names"):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path / "new"), "--json", str(tmp_path / "new")))


def test_an_older_result_is_replaced_when_told(checkpoint, root, tmp_path):
    run = arguments(checkpoint, root, "--split", "train", "--out", str(tmp_path / "out"), "--overwrite")
    evaluate(run)
    (tmp_path / "out" / "labels" / "stale.png").touch()
    evaluate([*run, "--json", str(tmp_path / "out" / "again.json")])
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 4
    assert (tmp_path / "out" / "again.json").read_text() == (tmp_path / "out" / "report.json").read_text()


def test_a_full_disk_leaves_nothing(checkpoint, root, tmp_path, full_disk):
    with full_disk(16), pytest.raises(OutputError, match=r"cannot write .*out: "):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


def test_frames_of_two_sizes_are_told_before_the_work(checkpoint, tmp_path, monkeypatch):
    root = write_camvid(tmp_path)
    write_frame(root, "val", "0016E5_07973", size_hw=(48, 64))
    monkeypatch.setattr(evaluation, "label", None)
    with pytest.raises(InputError, match=r"0016E5_07973\.png is 64x48"):
        evaluate(arguments(checkpoint, root))
