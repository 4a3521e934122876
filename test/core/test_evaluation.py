import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from fake_camvid import write_camvid, write_frame
from fake_data_sets import WRITERS, write_cityscapes, write_vspw

from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.data.dataset import DataSet
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.evaluation import passes
from sdcpc_core.evaluation.command import evaluate
from sdcpc_core.evaluation.passes import Answer, plan, score
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
    assert report["passes"] == {"self": [], "neighbours": [1, 2]}
    gain = report["neighbours_minus_self"]["mIoU"]["value"]
    assert gain == pytest.approx(report["neighbours"]["mIoU"] - report["self"]["mIoU"], abs=0.011)
    told = capsys.readouterr().out
    assert "1.0 s apart" in told
    assert "1 s and 2 s older" in told


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


@pytest.mark.parametrize(("library", "extra"), [("torchmetrics", "train"), ("jinja2", "report")])
def test_a_missing_library_is_told_before_the_work(checkpoint, root, tmp_path, library, extra):
    program = f"""
import sys
sys.modules["{library}"] = None  # makes the import fail
from sdcpc_core.cli import main
sys.exit(main())
"""
    run = arguments(checkpoint, root, "--out", str(tmp_path / "out"))
    command = [sys.executable, "-c", program, "evaluate", *run]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert library in result.stderr
    assert f"'.[{extra}]'" in result.stderr


def test_a_perfect_answer_scores_a_hundred(root, monkeypatch):
    data = open_data_set("camvid", root, "val")
    answers = (
        Answer(index, frame, np.where(frame.label_map == 255, 0, frame.label_map), 1.0)
        for index, frame in enumerate(data)
    )
    monkeypatch.setattr(passes.time, "perf_counter", iter([10.0, 12.0]).__next__)
    found = score(answers, CAMVID, is_video=True)
    figures = found.scores.figures()
    assert figures["mIoU"] == figures["WIoU"] == figures["pixel_accuracy"] == 100
    assert np.isnan(figures["mVC16"])
    assert found.frames_per_s == 3.5, "seven frames in two seconds, whatever their steps took"


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

    label = passes.label

    def recorded(segmenter, data, indices, **options):
        indices = list(indices)
        seen.append(indices)
        return label(segmenter, data, indices, **options)

    monkeypatch.setattr(passes, "label", recorded)
    run = [str(checkpoint), "--data", "cityscapes", "--root", str(root), "--device", "cpu"]
    evaluate(["--checkpoint", *run])
    with_references, alone = seen
    assert with_references == [*range(13, 20), *range(43, 50)]
    assert alone == [19, 49]


def test_an_older_result_is_kept(checkpoint, root, tmp_path):
    with pytest.raises(OutputError, match="exists"):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path)))
    with pytest.raises(OutputError, match="folder and no earlier result"):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path), "--overwrite"))
    with pytest.raises(OutputError, match="different names"):
        evaluate(arguments(checkpoint, root, "--out", str(tmp_path / "new"), "--json", str(tmp_path / "new")))


def test_a_report_that_cannot_be_written_is_told_before_the_work(checkpoint, root, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "label", None)
    with pytest.raises(OutputError, match="is a folder and no earlier result"):
        evaluate(arguments(checkpoint, root, "--json", str(tmp_path)))


def test_references_that_cannot_be_are_told_before_the_work(checkpoint, root, monkeypatch):
    monkeypatch.setattr(DataSet, "check_frames", None)
    with pytest.raises(ConfigError, match=r"takes 2 references, not \[3\]"):
        evaluate(arguments(checkpoint, root, "--references", "3"))


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
    monkeypatch.setattr(passes, "label", None)
    with pytest.raises(InputError, match=r"0016E5_07973\.png is 64x48"):
        evaluate(arguments(checkpoint, root))


def test_references_are_planned_by_how_close_frames_lie(root):
    video, pictures = (open_data_set("camvid", root, split) for split in ("val", "train"))
    assert plan(video, 2, None, (3, 6)) == {"references": (3, 6), "self": ()}
    assert plan(video, 2, (1, 2), (3, 6)) == {"references": (1, 2), "self": ()}
    assert plan(video, 0, None, (3, 6)) == {"self": ()}
    assert plan(pictures, 2, None, (3, 6)) == {"self": (), "neighbours": (1, 2)}
    assert plan(pictures, 2, (2, 3), (3, 6)) == {"references": (2, 3), "self": ()}


def test_single_images_have_no_neighbours(tmp_path):
    data = open_data_set("cityscapes", write_cityscapes(tmp_path, sequence=False), "val")
    assert plan(data, 2, None, (3, 6)) == {"self": ()}
    with pytest.raises(ConfigError, match="leave out --references"):
        plan(data, 2, (1, 2), (3, 6))


def test_an_evaluation_says_what_another_has_to_know_to_stand_beside_it(checkpoint, root, tmp_path):
    run = arguments(checkpoint, root, "--out", str(tmp_path / "out"), "--no-flow")
    evaluate(run)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == "sdcpc_mit_b0"
    assert report["label_set"] == CAMVID.to_dict()
    assert report["passes"] == {"references": [3, 6], "self": []}
    assert report["command"].startswith("sdcpc evaluate --checkpoint ")
    assert len(list((tmp_path / "out" / "labels_self").iterdir())) == 7


class TestPredictions:
    def predict(self, kind, root, split, out, *more):
        labels = open_data_set(kind, root, "train").labels
        checkpoint = random_weights(root.parent / "random.safetensors", labels)
        run = ["--checkpoint", str(checkpoint), "--data", kind, "--root", str(root), "--device", "cpu", "--no-flow"]
        evaluate([*run, "--split", split, "--save-predictions", str(out), *more])
        return sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))

    def test_cityscapes_wants_label_ids_by_the_names_of_the_images(self, tmp_path):
        root = write_cityscapes(tmp_path / "data")
        found = self.predict("cityscapes", root, "val", tmp_path / "out", "--out", str(tmp_path / "report"))
        assert found == ["frankfurt_000000_000294_leftImg8bit.png", "frankfurt_000000_000576_leftImg8bit.png"]
        label_ids = cv2.imread(str(tmp_path / "out" / found[0]), cv2.IMREAD_UNCHANGED)
        ours = cv2.imread(str(tmp_path / "report" / "labels" / "frankfurt_000000_000294.png"), cv2.IMREAD_UNCHANGED)
        expected = np.vectorize(TRAIN_LABEL_IDS.__getitem__)(ours)
        np.testing.assert_array_equal(label_ids, expected)

    def test_vspw_wants_a_folder_per_clip(self, tmp_path):
        found = self.predict("vspw", write_vspw(tmp_path / "data"), "val", tmp_path / "out")
        assert found == [f"2_b/{5 + 2 * index:08}.png" for index in range(10)]
        assert cv2.imread(str(tmp_path / "out" / found[0]), cv2.IMREAD_UNCHANGED).shape == (64, 80)

    @pytest.mark.parametrize("kind", ["camvid", "cityscapes", "vspw", "folder"])
    def test_a_split_without_labels_is_predicted(self, kind, tmp_path, capsys):
        root, split, expected = unlabelled(kind, tmp_path / "data")
        assert len(self.predict(kind, root, split, tmp_path / "out")) == expected
        assert "no labels, predictions only" in capsys.readouterr().out
        assert json.loads((tmp_path / "out" / "report.json").read_text())["frames"] == expected
        with pytest.raises(ConfigError, match="nothing for --out"):
            self.predict(kind, root, split, tmp_path / "again", "--out", str(tmp_path / "report"))
        if kind != "cityscapes":  # whose test has masks, all void
            with pytest.raises(InputError):
                open_data_set(kind, root, split)

    def test_masks_of_one_s_own_are_not_replaced(self, tmp_path):
        root = write_camvid(tmp_path / "data")
        with pytest.raises(OutputError, match="no earlier result"):
            self.predict("camvid", root, "val", root / "valannot", "--overwrite")
        assert len(list((root / "valannot").iterdir())) == 7

    def test_predictions_are_replaced_when_told(self, tmp_path):
        root = write_camvid(tmp_path / "data")
        assert len(self.predict("camvid", root, "val", tmp_path / "out")) == 7
        (tmp_path / "out" / "stale.png").touch()
        with pytest.raises(OutputError, match="exists"):
            self.predict("camvid", root, "val", tmp_path / "out")
        assert len(self.predict("camvid", root, "val", tmp_path / "out", "--overwrite")) == 7

    def test_outputs_have_folders_of_their_own(self, tmp_path):
        root = write_camvid(tmp_path / "data")
        with pytest.raises(ConfigError, match="lie in one another"):
            self.predict("camvid", root, "val", tmp_path / "out" / "labels", "--out", str(tmp_path / "out"))

    def test_a_full_disk_leaves_no_predictions(self, tmp_path, full_disk):
        root = write_camvid(tmp_path / "data")
        shutil.rmtree(root / "valannot")
        checkpoint = random_weights(tmp_path / "random.safetensors")
        before = sorted(tmp_path.iterdir())
        with full_disk(16), pytest.raises(OutputError, match=r"cannot write .*out: "):
            evaluate(arguments(checkpoint, root, "--save-predictions", str(tmp_path / "out")))
        assert sorted(tmp_path.iterdir()) == before


TRAIN_LABEL_IDS = dict(enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)))
"""Label id of each train id, as the benchmark's own table has them."""


def unlabelled(kind, root):
    """A data set with a split without labels; returns root, split and how many frames are to be predicted."""
    if kind == "camvid":
        shutil.rmtree(write_camvid(root) / "valannot")
        return root, "val", 7
    WRITERS[kind](root)
    if kind == "cityscapes":
        for folder in ("leftImg8bit_sequence", "gtFine"):
            shutil.copytree(root / folder / "val", root / folder / "test")
        return root, "test", 2
    if kind == "vspw":
        shutil.copytree(root / "data" / "2_b" / "origin", root / "data" / "3_c" / "origin")
        (root / "test.txt").write_text("3_c\n")
        return root, "test", 10
    shutil.rmtree(root / "masks" / "val")
    return root, "val", 15
