import cv2
import numpy as np
import pytest
from fake_camvid import CAR, ROAD, SKY, VOID, write_camvid, write_frame

from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError, InputError


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path / "camvid")


def test_frames_come_with_labels_sequence_and_time(root):
    frame = open_data_set("camvid", root, "val")[1]
    assert frame.image.shape == (64, 96, 3)
    assert tuple(frame.image[32, 20]) == (200, 40, 40), "RGB"
    assert set(np.unique(frame.label_map)) == {SKY, ROAD, CAR, 255}
    assert (frame.label_map[:, :2] == 255).all(), f"{VOID} is unlabelled"
    assert frame.sequence == "0016E5"
    assert frame.stamp_ns == 7961 * 1_000_000_000 // 30


def test_sequences_are_in_the_order_of_time(tmp_path):
    names = ["Seq05VD_f00090", "0016E5_08040", "0001TP_006690", "Seq05VD_f00030", "0006R0_f02640", "Seq05VD_f00000"]
    for name in names:
        write_frame(tmp_path, "test", name)
    records = open_data_set("camvid", tmp_path, "test").records
    assert [record.name for record in records] == [
        "0001TP_006690", "0006R0_f02640", "0016E5_08040", "Seq05VD_f00000", "Seq05VD_f00030", "Seq05VD_f00090",
    ]  # fmt: skip
    assert [record.sequence for record in records[-2:]] == ["Seq05VD"] * 2


def test_jpeg_images_are_taken_too(tmp_path):
    write_frame(tmp_path, "train", "0001TP_006690", suffix=".jpg")
    assert len(open_data_set("camvid", tmp_path, "train")) == 1


def test_spacing_tells_video_from_single_frames(root):
    assert open_data_set("camvid", root, "val").spacing_s() == pytest.approx(1 / 15, abs=1e-6)
    assert open_data_set("camvid", root, "train").spacing_s() == pytest.approx(1.0)


def test_class_frequencies_leave_void_out(root):
    frequencies = open_data_set("camvid", root, "val").class_frequencies()
    assert frequencies.sum() == pytest.approx(1.0)
    assert frequencies[CAR] == pytest.approx(16 * 24 / (64 * 94))


def broken_copy(root, breaking):
    path = breaking(root)
    return pytest.raises(InputError, match=str(path.name))


def remove_mask(root):
    path = root / "trainannot" / "0001TP_006720.png"
    path.unlink()
    return path


def test_a_missing_mask_is_named(root):
    with broken_copy(root, remove_mask):
        open_data_set("camvid", root, "train")


def cut_image(root):
    path = root / "train" / "0001TP_006690.png"
    path.write_bytes(b"")
    return path


def cut_mask(root):
    path = root / "trainannot" / "0001TP_006690.png"
    path.write_bytes(path.read_bytes()[:20])
    return path


def shrink_mask(root):
    path = root / "trainannot" / "0001TP_006690.png"
    cv2.imwrite(str(path), np.zeros((32, 48), np.uint8))
    return path


def stray_id(root):
    path = root / "trainannot" / "0001TP_006690.png"
    cv2.imwrite(str(path), np.full((64, 96), 12, np.uint8))
    return path


def colour_mask(root):
    path = root / "trainannot" / "0001TP_006690.png"
    cv2.imwrite(str(path), np.zeros((64, 96, 3), np.uint8))
    return path


@pytest.mark.parametrize("breaking", [cut_image, cut_mask, shrink_mask, stray_id, colour_mask])
def test_broken_files_are_named_when_read(root, breaking):
    data = open_data_set("camvid", root, "train")
    with broken_copy(root, breaking):
        data[0]


def test_a_frame_of_another_size_is_named(root):
    write_frame(root, "train", "0006R0_f02640", size_hw=(48, 64))
    data = open_data_set("camvid", root, "train")
    data.check_frames()  # each sequence has its own size
    write_frame(root, "train", "0001TP_006840", size_hw=(48, 64))
    with pytest.raises(InputError, match=r"0001TP_006840\.png is 64x48 but its sequence began with 96x64"):
        open_data_set("camvid", root, "train").check_frames()


def test_a_strange_name_is_refused(root):
    (root / "train" / "picture.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"picture\.png is not named"):
        open_data_set("camvid", root, "train")


def test_wrong_folders_and_splits_are_refused(root, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        open_data_set("camvid", tmp_path / "nothing", "train")
    with pytest.raises(ConfigError, match="no split 'training'"):
        open_data_set("camvid", root, "training")


@pytest.mark.parametrize(("split", "count", "spacing_s"), [("train", 367, 1.0), ("val", 101, 1 / 15)])
def test_real_data(shared_data, split, count, spacing_s):
    data = open_data_set("camvid", shared_data("camvid"), split)
    assert len(data) == count
    assert data.spacing_s() == pytest.approx(spacing_s, abs=1e-6)
    assert data[count // 2].label_map.shape == (360, 480)
