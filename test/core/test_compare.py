import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_camvid import write_camvid, write_frame
from test_evaluation import random_weights
from test_page import check_page

from sdcpc_core.comparison.command import compare
from sdcpc_core.comparison.evaluations import Group, StoredPass, read_groups, read_pass
from sdcpc_core.comparison.figures import gains, inconsistency_gone, measure
from sdcpc_core.comparison.report import notes, rows
from sdcpc_core.comparison.strip import candidates, find_frames, make_strip, most_different
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.evaluation.command import evaluate
from sdcpc_core.labels import CAMVID
from sdcpc_core.metrics.scores import Scorer, Scores
from sdcpc_core.report import FORMAT_VERSION

FRAMES = 40
ROAD = CAMVID.names.index("Road")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camvid")
    for index in range(FRAMES):
        write_frame(folder, "val", f"0016E5_{7959 + 2 * index:05}", car_x=10 + index)
    return folder


def write_evaluation(folder: Path, root: Path, *, noise: float, seed: int = 0, **facts) -> Path:
    """Write what an evaluation leaves of a model that takes a share of the pixels for road."""
    rng = np.random.default_rng(seed)
    data = open_data_set("camvid", root, "val")
    scorer = Scorer(data.labels.num_classes, data.labels.ignore_index, with_windows=True, with_flow=False)
    (folder / "labels").mkdir(parents=True)
    for record, frame in zip(data.records, data, strict=True):
        label_map = np.where(rng.random(frame.label_map.shape) < noise, ROAD, frame.label_map).astype(np.uint8)
        cv2.imwrite(str(folder / "labels" / f"{record.name}.png"), label_map)
        scorer.update(frame.image, label_map, frame.label_map, frame.sequence)
    results = {"IoU": dict.fromkeys(data.labels.names), "latency_ms": {"median": 50.0, "p99": 60.0}, "fps": 20.0}
    report = {
        "format_version": FORMAT_VERSION,
        "config": {"data": "camvid", "root": str(root), "split": "val", "checkpoint": None, "precision": "fp32"},
        "commit": None,
        "versions": {"sdcpc_ros": "0"},
        "device_name": "a processor",
        "frames": len(data),
        "working_size_hw": [64, 96],
        "params": 13_000_000,
        "macs": 31_000_000_000,
        "stream": {"macs": 16_000_000_000},
        **results,
        "self": results,
    }
    (folder / "report.json").write_text(json.dumps({**report, **facts}))
    for run in ("references", "self"):
        np.savez_compressed(folder / f"blocks_{run}.npz", **scorer.scores().blocks)
    return folder


@pytest.fixture(scope="module")
def evaluations(root, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("evaluations")
    noise = {"rough": 0.2, "fine": 0.1, "fine2": 0.12, "finer": 0.05}
    return {
        name: write_evaluation(folder / name, root, noise=share, seed=seed)
        for seed, (name, share) in enumerate(noise.items())
    }


def stored(scores: Scores, **report) -> StoredPass:
    results = {"IoU": dict.fromkeys("abc")}
    config = {"data": "camvid", "split": "val", "precision": "fp32"}
    return StoredPass(
        "a", Path("a"), "self", {"config": config, "device_name": "a processor", **report}, results, scores, None
    )


def video(exact: list[float], strict: list[float]) -> Scores:
    """A video of two blocks with one window each, of both lengths, and their shares of steady pixels."""
    windows = np.zeros((2, 2, 5))
    windows[:, :, 0] = windows[:, :, 3] = 1
    windows[:, :, 1] = windows[:, :, 4] = np.array(exact)[:, None]
    windows[:, :, 2] = np.array(strict)[:, None]
    labels = np.zeros((2, 3, 3), np.int64)
    labels[:, :, 0] = 9
    return Scores({"labels": labels, "windows": windows})


def test_the_share_of_the_inconsistency_that_is_gone():
    first, other = video([0.8, 0.88], [0.5, 0.5]), video([0.85, 0.91], [0.4, 0.5])
    gone = inconsistency_gone([first], [other])
    assert set(gone) == {"mVC8", "mVC16", "mVC8_strict", "mVC16_strict"}
    assert gone["mVC8"].value == pytest.approx(25), "from 84 to 88"
    assert (gone["mVC8"].low, gone["mVC8"].high) == pytest.approx((25, 25)), "each block alone shows 25"
    assert gone["mVC16_strict"].value == pytest.approx(-10), "from 50 to 45"
    assert np.isnan(inconsistency_gone([video([1, 1], [1, 1])], [other])["mVC8"].value), "nothing was missing"


def test_frames_that_are_no_video_have_no_inconsistency():
    frames = Scores({"labels": video([1, 1], [1, 1]).blocks["labels"]})
    assert inconsistency_gone([frames], [frames]) == {}
    groups = [Group(name, (stored(frames),)) for name in "ab"]
    assert "inconsistency" not in notes(groups)


def test_seeds_are_averaged_and_their_spread_is_told():
    first, lower, higher = (video([share] * 2, [share] * 2) for share in (0.5, 0.6, 0.8))
    groups = [Group("a", (stored(first),)), Group("b", (stored(lower), stored(higher)))]
    single, several = measure(groups)
    assert (single.mean["mVC8"], several.mean["mVC8"]) == pytest.approx((50, 70))
    assert np.isnan(single.deviation["mVC8"])
    assert several.deviation["mVC8"] == pytest.approx(np.sqrt(200)), "of 60 and 80"
    assert several.gains["mVC8"].value == pytest.approx(20)
    assert several.gone["mVC8"].value == pytest.approx(40), "of the 50 that were missing"
    assert single.gains == single.gone == {}
    assert "±" in notes(groups)
    assert "±" not in notes([groups[0], groups[0]])


def test_the_interval_of_seeds_is_of_their_mean(evaluations):
    first, lower, higher = (read_pass(str(evaluations[name])).scores for name in ("rough", "fine", "fine2"))
    both = gains([first], [lower, higher], CAMVID.names)
    alone = [gains([first], [scores], CAMVID.names) for scores in (lower, higher)]
    for key in ("mIoU", "mVC8", "IoU Car"):
        assert both[key].value == pytest.approx(np.mean([gain[key].value for gain in alone]))
        assert min(gain[key].low for gain in alone) <= both[key].low < both[key].high
    twice = gains([first, first], [lower, lower], CAMVID.names)
    assert twice["mIoU"].value == pytest.approx(alone[0]["mIoU"].value)
    assert (twice["mIoU"].low, twice["mIoU"].high) == pytest.approx((alone[0]["mIoU"].low, alone[0]["mIoU"].high))
    assert twice.keys() == alone[0].keys()


def test_tc_of_different_flow_is_left_out():
    with_flow = Scores({**video([1, 1], [1, 1]).blocks, "warped": np.ones((2, 2, 3, 3), np.int64)})
    same, other = ([Group("a", (stored(with_flow, TC_flow="DIS"),)), Group("b", (stored(with_flow, TC_flow=flow),))]
                   for flow in ("DIS", "RAFT"))  # fmt: skip
    assert "TC" in measure(same)[1].gains
    assert "TC" not in measure(other)[0].mean
    assert "TC" not in measure(other)[1].gains
    assert "TC is left out" in notes([*other])


def test_the_command_shows_and_writes_all(evaluations, tmp_path, capsys):
    out, report_path = tmp_path / "out", tmp_path / "compare.json"
    folders = [str(evaluations[name]) for name in ("rough", "fine", "finer")]
    compare(
        [folders[0], f"{folders[1]},{evaluations['fine2']}", folders[2], "--out", str(out), "--json", str(report_path)]
    )
    shown = capsys.readouterr().out
    assert "camvid val, 40 labelled frames" in shown
    assert "fine +1" in shown
    report = json.loads(report_path.read_text())
    assert json.loads((out / "compare.json").read_text()) == report
    first, several, finer = report["evaluations"]
    assert [len(told["members"]) for told in report["evaluations"]] == [1, 2, 1]
    assert first["mIoU"] < several["mIoU"] < finer["mIoU"]
    assert first["IoU"]["Pole"] is None, "absent from the ground truth"
    assert "minus_first" not in first
    gain = finer["minus_first"]
    assert gain["mIoU"]["value"] == pytest.approx(finer["mIoU"] - first["mIoU"], abs=0.011)
    assert 0 < gain["IoU"]["Car"]["low"] < gain["IoU"]["Car"]["value"] < gain["IoU"]["Car"]["high"]
    assert finer["inconsistency_gone"]["mVC8"]["value"] > 0
    assert several["standard_deviation"]["mIoU"] > 0
    assert "standard_deviation" not in finer
    page = check_page((out / "compare.html").read_text())
    assert {"rough", "fine +1", "finer", "mVC8 gone", "IoU Car", "Ground truth"} <= set(page.text)
    assert {"finer: difference (95 %)", "finer: share (95 %)"} <= set(page.text)
    parts = [next(i for i, text in enumerate(page.text) if text.startswith(told)) for told in ("difference:", "gone:")]
    assert parts[0] < page.text.index("mIoU") < parts[1] < page.text.index("mVC8 gone"), "each note is over its table"
    assert cv2.imread(str(out / "strip.png")).shape[1] == 5 * 366 - 6 + 32, "input, three models, truth"


def test_two_passes_of_one_evaluation(tmp_path):
    root = write_camvid(tmp_path / "camvid")
    out = tmp_path / "evaluation"
    checkpoint = random_weights(tmp_path / "random.safetensors")
    run = ["--checkpoint", str(checkpoint), "--device", "cpu", "--data", "camvid", "--root", str(root), "--no-flow"]
    evaluate([*run, "--out", str(out)])
    compare([f"{out}:self", str(out), "--out", str(tmp_path / "out")])
    evaluated = json.loads((out / "report.json").read_text())
    alone, main = json.loads((tmp_path / "out" / "compare.json").read_text())["evaluations"]
    assert (alone["name"], main["name"]) == ("self", "references")
    assert (alone["mIoU"], main["mIoU"]) == (evaluated["self"]["mIoU"], evaluated["mIoU"])
    assert alone["members"][0]["latency_ms"] == evaluated["self"]["latency_ms"]
    assert main["minus_first"]["mIoU"] == evaluated["references_minus_self"]["mIoU"]
    assert (tmp_path / "out" / "strip.png").exists()
    page = check_page((tmp_path / "out" / "compare.html").read_text())
    assert "mIoU, difference" in page.text
    assert "mVC8, difference" not in page.text, "seven frames have no window of eight"
    assert not any("nan" in text for text in page.text)


def test_columns_hold_their_group(evaluations):
    groups = read_groups([str(evaluations[name]) for name in ("rough", "fine", "finer")], ["A", "B", "C"])
    measured = measure(groups)
    for part in rows(groups, measured).values():
        assert {len(row) for row in part} == {6}, "name, three means, two differences"
    figures = {row[0]: row for part in rows(groups, measured).values() for row in part}
    assert figures["mIoU"][1] == f"{measured[0].mean['mIoU']:.2f}"
    assert figures["mIoU"][5] == str(measured[2].gains["mIoU"])
    assert figures["mVC8 gone"][1:4] == ["", "", ""]
    assert figures["IoU Pole"][1:] == ["–"] * 5
    assert figures["frames per second"] == ["frames per second", "20.00", "20.00", "20.00", "", ""]


def test_times_of_two_machines_are_told_apart(root, evaluations, tmp_path):
    other = write_evaluation(tmp_path / "other", root, noise=0.1, device_name="a GPU")
    groups = read_groups([str(evaluations["rough"]), str(other)], None)
    assert "rough: a processor, fp32; other: a GPU, fp32" in notes(groups)
    assert "machines" not in notes([groups[0], groups[0]])


def test_evaluations_are_called_as_their_folders_differ(root, tmp_path):
    folders = [write_evaluation(tmp_path / name / "val", root, noise=0) for name in ("a", "b", "c,d")]
    named = read_groups([*map(str, folders[:2]), f"{folders[0]}:self", str(folders[2])], None)
    assert [group.name for group in named] == ["a/val:references", "b/val", "a/val:self", "c,d/val"]
    assert [group.name for group in read_groups([*map(str, folders[:2])], ["x", "y"])] == ["x", "y"]
    with pytest.raises(ConfigError, match="3 names for 2"):
        read_groups([*map(str, folders[:2])], ["x", "y", "z"])
    with pytest.raises(ConfigError, match="both called 'x'"):
        read_groups([*map(str, folders[:2])], ["x", "x"])
    with pytest.raises(ConfigError, match="'a/val:references'; tell"):
        read_groups([str(folders[0]), f"{folders[0]}:references", str(folders[1])], None)
    with pytest.raises(ConfigError, match="two evaluations or more"):
        read_groups([str(folders[0])], None)


def test_other_frames_splits_and_classes_are_refused_by_name(root, evaluations, tmp_path):
    first = str(evaluations["rough"])
    config = json.loads((evaluations["rough"] / "report.json").read_text())["config"]
    split = write_evaluation(tmp_path / "split", root, noise=0, config={**config, "split": "test"})
    with pytest.raises(InputError, match=r"rough and .*split are of different splits, camvid val and camvid test"):
        read_groups([first, str(split)], None)
    results = {"IoU": {"a": 1, "b": 2}}
    classes = write_evaluation(tmp_path / "classes", root, noise=0, self=results, **results)
    with pytest.raises(InputError, match=r"rough and .*classes are of different classes"):
        read_groups([first, str(classes)], None)
    frames = write_evaluation(tmp_path / "frames", write_camvid(tmp_path / "few"), noise=0)
    with pytest.raises(InputError, match=r"rough and .*frames are not of the same frames \(40 and 7\)"):
        read_groups([first, f"{first},{frames}"], None)


def test_what_is_no_evaluation_is_told(root, tmp_path):
    with pytest.raises(InputError, match="nowhere holds no evaluation"):
        read_pass("nowhere")
    (tmp_path / "report.json").write_text('{"format_version": 1, "config": {}}')
    with pytest.raises(InputError, match="holds no evaluation"):
        read_pass(str(tmp_path))
    newer = write_evaluation(tmp_path / "newer", root, noise=0, format_version=FORMAT_VERSION + 1)
    with pytest.raises(InputError, match=f"format {FORMAT_VERSION + 1}"):
        read_pass(str(newer))
    folder = write_evaluation(tmp_path / "evaluation", root, noise=0)
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({key: report[key] for key in report if key != "params"}))
    with pytest.raises(InputError, match="older evaluation that does not tell params"):
        read_pass(str(folder))
    (folder / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match="no pass 'neighbours'; it has references, self"):
        read_pass(f"{folder}:neighbours")
    blocks = folder / "blocks_references.npz"
    blocks.write_bytes(blocks.read_bytes()[:300])
    with pytest.raises(InputError, match=r"blocks_references.npz is broken .* evaluate again"):
        read_pass(str(folder))
    blocks.unlink()
    assert read_pass(str(folder)).run == "self", "a model without references has no other pass"


def test_the_pictures_are_those_of_the_models(evaluations, root):
    data = open_data_set("camvid", root, "val")
    folders = {name: evaluations[name] / "labels" for name in ("rough", "fine")}
    (index,) = find_frames(data, ["0016E5_07963"])
    assert index == 2
    strip = make_strip(data, folders, [index])
    assert strip.headings == ["Input", "rough", "fine", "Ground truth"]
    image, rough, _, truth = strip.pictures[0]
    frame = data[index]
    np.testing.assert_array_equal(image, frame.image)
    np.testing.assert_array_equal(truth, CAMVID.colorize(frame.label_map))
    maps = [cv2.imread(str(folder / "0016E5_07963.png"), cv2.IMREAD_UNCHANGED) for folder in folders.values()]
    np.testing.assert_array_equal(rough, CAMVID.colorize(maps[0]))
    assert strip.labels.names == ("Sky", "Road", "Car")
    assert strip.labels.palette[2] == CAMVID.palette[8]
    labelled = frame.label_map != 255
    share = 100 * (maps[0] != maps[1])[labelled].mean()
    assert strip.captions == [f"0016E5_07963: labels differ on {share:.1f} % of the labelled pixels"]
    wrong = 100 * (maps[0] != frame.label_map)[labelled].mean()
    alone = make_strip(data, {"rough": folders["rough"]}, [index])
    assert alone.captions == [f"0016E5_07963: wrong on {wrong:.1f} % of the labelled pixels"]
    with pytest.raises(ConfigError, match="no labelled frame 'x'; they are called 0016E5_07959 to 0016E5_08037"):
        find_frames(data, ["x"])


def test_the_frames_that_differ_most_lie_apart(root, tmp_path):
    data = open_data_set("camvid", root, "val")
    folders = [tmp_path / "a", tmp_path / "b"]
    # Columns of pixels on which the second model errs, by the index of the frame; 20 and 21 look alike.
    errors = {20: 50, 21: 49, 3: 30, 38: 20, 11: 10, 30: 5}
    for folder, wrong in zip(folders, ({}, errors), strict=True):
        folder.mkdir()
        for index, record in enumerate(data.records):
            label_map = data[index].label_map.copy()
            label_map[:, : 2 + wrong.get(index, 0)] = ROAD
            cv2.imwrite(str(folder / f"{record.name}.png"), label_map)
    assert most_different(data, folders, candidates(data)) == [3, 11, 20, 38]
    assert most_different(data, folders[1:], candidates(data)) == [3, 11, 20, 38]
    assert most_different(data, folders, [4, 5]) == [4, 5], "fewer frames than are shown"
    cv2.imwrite(str(folders[1] / f"{data.records[3].name}.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match=r"b/0016E5_07965\.png is not of the size of .*val/0016E5_07965\.png"):
        most_different(data, folders, candidates(data))


def test_data_that_moved_are_named(evaluations, root, tmp_path):
    config = json.loads((evaluations["rough"] / "report.json").read_text())["config"]
    gone = write_evaluation(tmp_path / "gone", root, noise=0, config={**config, "root": str(tmp_path / "before")})
    run = [str(gone), str(evaluations["fine"]), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"before is not there, which held the data of .*gone; pass --root"):
        compare(run)
    with pytest.raises(InputError, match=r"few holds 7 labelled frames .* 40 of 11; pass --root"):
        compare([*run, "--root", str(write_camvid(tmp_path / "few"))])
    (gone / "labels" / "0016E5_07959.png").unlink()
    with pytest.raises(InputError, match=r"0016E5_07959\.png"):
        compare([*run, "--root", str(root)])
    assert not (tmp_path / "out").exists()
    compare([*run, "--root", str(root), "--frames", "0016E5_07961"])
    assert (tmp_path / "out" / "strip.png").exists()


def test_without_label_maps_there_are_no_pictures(evaluations, tmp_path, capsys):
    run = [f"{evaluations[name]}:self" for name in ("rough", "fine")]
    compare([*run, "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.html", "compare.json"]
    assert "No label maps were kept of rough, fine" in capsys.readouterr().out


def test_outputs_are_guarded(evaluations, tmp_path, full_disk, capsys):  # capsys: what is shown needs no disk
    run = [str(evaluations[name]) for name in ("rough", "fine")]
    with pytest.raises(ConfigError, match="--out"):
        compare([*run, "--frames", "0016E5_07959"])
    with pytest.raises(OutputError, match="no earlier result"):
        compare([*run, "--out", str(evaluations["rough"]), "--overwrite"])
    out = ["--out", str(tmp_path / "out"), "--frames", "0016E5_07959"]
    with full_disk(16), pytest.raises(OutputError, match=r"cannot write .*out: "):
        compare([*run, *out])
    assert list(tmp_path.iterdir()) == []
    compare([*run, *out])
    with pytest.raises(OutputError, match="exists"):
        compare([*run, *out])
    compare([*run, *out, "--overwrite"])
