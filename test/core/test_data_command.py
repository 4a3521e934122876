import json

import pytest
from fake_camvid import write_camvid
from fake_data_sets import WRITERS, write_cityscapes, write_folder, write_mask, write_vspw

from sdcpc_core.data_command import data
from sdcpc_core.errors import ConfigError, InputError


def check(root, kind, *more) -> None:
    data(["check", str(root), "--data", kind, *more])


@pytest.mark.parametrize("kind", WRITERS)
def test_whole_data_are_told_with_their_classes(kind, tmp_path, capsys):
    check(WRITERS[kind](tmp_path), kind)
    shown = capsys.readouterr().out
    assert "Nothing is missing or broken" in shown
    assert "share of the labelled pixels" in shown


def test_the_report_has_frequencies_and_sizes(tmp_path):
    file = tmp_path / "report.json"
    check(write_camvid(tmp_path / "data"), "camvid", "--split", "val", "--json", str(file))
    report = json.loads(file.read_text())
    assert list(report["splits"]) == ["val"]
    val = report["splits"]["val"]
    assert (val["frames"], val["labelled"], val["sequences"], val["sizes"]) == (7, 7, 1, {"64x96": 7})
    assert val["class_frequencies"]["Car"] == pytest.approx(16 * 24 / (64 * 94))
    assert val["spacing_s"] == pytest.approx(1 / 15, abs=1e-6)
    assert val["faults"] == {}
    assert report["labels"]["name"] == "camvid"
    assert report["versions"]


def test_all_faults_are_told_at_once(tmp_path, capsys):
    clip = write_vspw(tmp_path / "data") / "data" / "1_a"
    (clip / "origin" / "00000005.jpg").write_bytes(b"")
    (clip / "origin" / "00000006.jpg").unlink()
    (clip / "mask" / "00000007.png").unlink()
    write_mask(clip / "mask" / "00000008.png", [1], (32, 48))
    (clip / "mask" / "00000009.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"has 5 faults to put right$"):
        check(tmp_path / "data", "vspw", "--json", str(tmp_path / "report.json"))
    found = json.loads((tmp_path / "report.json").read_text())["splits"]["train"]["faults"]
    named = {kind: [message.split()[0].rpartition("/")[2] for message in messages] for kind, messages in found.items()}
    assert named == {
        "empty images": ["00000005.jpg"],
        "masks without an image": ["00000006.png"],
        "images without a mask": ["00000007.jpg"],
        "masks of another size than their image": ["00000008.png"],
        "unreadable masks": ["00000009.png"],
    }
    shown = capsys.readouterr().out
    for kind in named:
        assert f"{kind}: 1" in shown


def test_strays_and_gaps_do_no_harm_and_are_told(tmp_path, capsys):
    clip = write_vspw(tmp_path) / "data" / "1_a"
    (clip / "origin" / "00000009.jpg").unlink()
    (clip / "mask" / "00000009.png").unlink()
    check(tmp_path, "vspw", "--split", "train")
    shown = capsys.readouterr().out
    assert "ids outside the label set, read as void: 9" in shown
    assert "00000005.png holds 252" in shown
    assert "frames missing in a video: 1" in shown
    assert "00000008.jpg" in shown


def test_ids_and_sizes_are_checked(tmp_path):
    root = write_folder(tmp_path / "data")
    write_mask(root / "masks" / "train" / "alone.png", [0, 1, 2, 3, 99])
    write_mask(root / "masks" / "val" / "hall" / "frame7.png", [0, 1], (32, 48))
    with pytest.raises(InputError, match="2 faults"):
        check(root, "folder", "--json", str(tmp_path / "report.json"))
    splits = json.loads((tmp_path / "report.json").read_text())["splits"]
    (message,) = splits["train"]["faults"]["ids outside the label set"]
    assert "holds id 3, 99; the data set uses 1..2 for its classes and 0 for void" in message
    assert list(splits["val"]["faults"]) == ["masks of another size than their image"]


def test_masks_of_nothing_but_void_are_told(tmp_path):
    root = write_cityscapes(tmp_path)
    for path in (root / "gtFine" / "val").rglob("*.png"):
        write_mask(path, [0])
    with pytest.raises(InputError, match="1 fault "):
        check(root, "cityscapes")


def test_a_long_list_is_cut_on_the_terminal_alone(tmp_path, capsys):
    root = write_cityscapes(tmp_path / "data", sequence=True)
    for path in (root / "leftImg8bit_sequence" / "val").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="60 faults"):
        check(root, "cityscapes", "--json", str(tmp_path / "report.json"))
    assert "and 50 more" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report.json").read_text())["splits"]["val"]["faults"]["empty images"]) == 60


def test_wrong_places_and_splits_are_told(tmp_path):
    with pytest.raises(InputError, match="holds no"):
        check(tmp_path, "vspw")
    with pytest.raises(ConfigError, match="no split 'all'"):
        check(write_vspw(tmp_path), "vspw", "--split", "all")


def test_real_data_are_whole(shared_data, tmp_path):
    check(shared_data("cityscapes-sample"), "cityscapes", "--json", str(tmp_path / "report.json"))
    val = json.loads((tmp_path / "report.json").read_text())["splits"]["val"]
    assert val["class_frequencies"]["road"] > 0.2
