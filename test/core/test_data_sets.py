import json
import pickle
import shutil
import zlib
from itertools import pairwise
from typing import get_args, get_type_hints

import cv2
import numpy as np
import pytest
from fake_camvid import write_camvid
from fake_data_sets import (
    WRITERS,
    write_camvid12,
    write_cityscapes,
    write_folder,
    write_image,
    write_mask,
    write_vspw,
)

from sdcpc_core.data.files import BadFileError, read_mask
from sdcpc_core.data.kinds import LAYOUTS, PLACES, find_splits, open_data_set
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import CAMVID, CITYSCAPES
from sdcpc_core.training.config import DataConfig


def values_of(frame) -> list[int]:
    """Class ids in the order of the stripes."""
    row = frame.label_map[0]
    return [int(row[0]), *(int(b) for a, b in pairwise(row) if a != b)]


def test_all_kinds_are_known_everywhere():
    kinds = get_args(get_type_hints(DataConfig)["kind"])
    assert set(kinds) == set(LAYOUTS) == set(PLACES) == set(WRITERS)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_is_read_and_whole(kind, tmp_path):
    root = WRITERS[kind](tmp_path)
    assert find_splits(kind, root) == ["train", "val"]
    for split in ("train", "val"):
        data = open_data_set(kind, root, split)
        data.check_frames()
        assert len({record.name for record in data.records}) == len(data)
        frequencies = data.class_frequencies()
        assert frequencies.shape == (data.labels.num_classes,)
        assert frequencies.sum() == pytest.approx(1)
        for frame in (data[0], data[data.labelled[-1]]):
            assert frame.image.shape == (*frame.label_map.shape, 3)
            assert frame.label_map.dtype == frame.image.dtype == np.uint8


class TestVSPW:
    def test_others_void_and_strays_are_unlabelled(self, tmp_path):
        data = open_data_set("vspw", write_vspw(tmp_path), "train")
        assert values_of(data[0]) == [255, 0, 123, 255, 6], "raw 0, 1, 124, 255 and 252, 7"
        assert data.class_frequencies()[[0, 6, 123]] == pytest.approx([1 / 3] * 3)

    def test_clips_have_their_own_width_and_run_at_15_hz(self, tmp_path):
        write_vspw(tmp_path)
        (tmp_path / "train.txt").write_text("2_b\n\n1_a\r\n")
        data = open_data_set("vspw", tmp_path, "train")
        assert {data[0].label_map.shape, data[10].label_map.shape} == {(64, 96), (64, 80)}
        assert data.spacing_s() == pytest.approx(1 / 15, abs=1e-6)
        assert data.is_video
        data.check_frames()

    def test_names_come_with_the_data(self, tmp_path):
        labels = open_data_set("vspw", write_vspw(tmp_path), "val").labels
        assert (labels.num_classes, labels.names[0], labels.names[123]) == (124, "thing 1", "car")
        assert labels.dynamic == ("car",)

    def test_classes_are_numbered_without_names(self, tmp_path):
        write_vspw(tmp_path)
        (tmp_path / "label_num_dic_final.json").unlink()
        assert open_data_set("vspw", tmp_path, "val").labels.names[:2] == ("class 1", "class 2")

    @pytest.mark.parametrize("text", ["no json", "[]", '{"wall": "one"}', '{"others": "0", "wall": "1"}'])
    def test_broken_names_are_told(self, tmp_path, text):
        write_vspw(tmp_path)
        (tmp_path / "label_num_dic_final.json").write_text(text)
        with pytest.raises(InputError, match=r"label_num_dic_final\.json does not name the classes"):
            open_data_set("vspw", tmp_path, "val")

    def test_missing_clips_and_lists_are_told(self, tmp_path):
        write_vspw(tmp_path)
        (tmp_path / "train.txt").write_text("1_a\n3_c\n")
        with pytest.raises(InputError, match="3_c/origin is not a folder"):
            open_data_set("vspw", tmp_path, "train")
        with pytest.raises(InputError, match=r"test\.txt is not there"):
            open_data_set("vspw", tmp_path, "test")
        (tmp_path / "test.txt").write_text("\n")
        with pytest.raises(InputError, match=r"test\.txt names no clip"):
            open_data_set("vspw", tmp_path, "test")


class TestCityscapes:
    @pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
    def test_both_kinds_of_ids_mean_the_same(self, tmp_path, kind):
        data = open_data_set("cityscapes", write_cityscapes(tmp_path, kind=kind), "val")
        assert data.labels == CITYSCAPES
        assert values_of(data[data.labelled[0]]) == [0, 13, 255, 18]

    def test_one_frame_in_thirty_is_labelled(self, tmp_path):
        data = open_data_set("cityscapes", write_cityscapes(tmp_path), "val")
        assert len(data) == 60
        assert data.labelled == [19, 49]
        assert data.records[19].name == "frankfurt_000000_000294"
        assert (data[0].label_map == 255).all()
        assert data.spacing_s() == pytest.approx(1 / 17, abs=1e-6)

    def test_a_drive_is_cut_where_its_numbers_jump(self, tmp_path):
        data = open_data_set("cityscapes", write_cityscapes(tmp_path), "val")
        assert data.records[29].sequence != data.records[30].sequence
        assert data.references(30, (3, 6)) == [30, 30], "the first frame of its snippet"
        assert data.references(49, (3, 6)) == [46, 43]

    def test_only_what_a_label_needs_is_read(self, tmp_path):
        data = open_data_set("cityscapes", write_cityscapes(tmp_path), "val")
        assert data.around_targets(6) == [*range(13, 20), *range(43, 50)]
        assert data.around_targets(0) == data.labelled

    def test_images_alone_are_no_video(self, tmp_path):
        data = open_data_set("cityscapes", write_cityscapes(tmp_path, sequence=False), "val")
        assert len(data) == 2
        assert not data.is_video
        assert data.references(0, (3, 6)) is None

    def test_a_conversion_that_broke_off_takes_no_labels_away(self, tmp_path):
        write_cityscapes(tmp_path)
        write_mask(
            tmp_path / "gtFine" / "val" / "frankfurt" / "frankfurt_000000_000294_gtFine_labelTrainIds.png", [0, 1]
        )
        data = open_data_set("cityscapes", tmp_path, "val")
        assert data.labelled == [19, 49]
        assert values_of(data[19]) == [0, 13, 255, 18]

    def test_a_mask_without_its_frame_is_told(self, tmp_path):
        write_cityscapes(tmp_path)
        (tmp_path / "leftImg8bit_sequence/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png").unlink()
        with pytest.raises(InputError, match=r"000294_gtFine_labelIds\.png has no image"):
            open_data_set("cityscapes", tmp_path, "val")

    def test_an_image_alone_needs_its_mask(self, tmp_path):
        write_cityscapes(tmp_path, sequence=False)
        write_image(tmp_path / "leftImg8bit/val/frankfurt/frankfurt_000000_000999_leftImg8bit.png")
        with pytest.raises(InputError, match=r"000999_leftImg8bit\.png has no mask"):
            open_data_set("cityscapes", tmp_path, "val")

    def test_missing_folders_are_told(self, tmp_path):
        with pytest.raises(InputError, match="leftImg8bit/val is not a folder"):
            open_data_set("cityscapes", tmp_path, "val")
        (tmp_path / "leftImg8bit" / "val").mkdir(parents=True)
        (tmp_path / "gtFine" / "val").mkdir(parents=True)
        with pytest.raises(InputError, match="holds no <city>"):
            open_data_set("cityscapes", tmp_path, "val")

    def test_real_ids_mean_the_same(self, shared_data, tmp_path):
        root = shared_data("cityscapes-sample")
        by_train_ids = open_data_set("cityscapes", root, "val")[0]
        shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("*_labelTrainIds.png"))
        by_label_ids = open_data_set("cityscapes", tmp_path / "copy", "val")[0]
        # The two masks of the sample were made smaller one by one, which shifts some borders by a pixel.
        assert (by_train_ids.label_map == by_label_ids.label_map).mean() > 0.995
        assert len(np.unique(by_train_ids.label_map)) > 5


class TestCamVidEditions:
    @pytest.mark.parametrize("lists", [False, True])
    def test_the_12_class_edition_is_void_at_0(self, tmp_path, lists):
        data = open_data_set("camvid", write_camvid12(tmp_path, lists=lists), "train")
        assert "12-class edition" in data.title
        assert data.labels == CAMVID
        label_map = data[0].label_map
        assert [label_map[0, 0], label_map[0, 50], label_map[60, 50], label_map[30, 25]] == [255, 0, 3, 8]
        assert [record.name for record in data.records] == ["0001TP_006690", "0001TP_006720"]

    def test_segnet_s_edition_is_void_at_11(self, tmp_path):
        assert "SegNet edition" in open_data_set("camvid", write_camvid(tmp_path), "train").title

    def test_another_order_of_classes_is_not_guessed(self, tmp_path):
        write_image(tmp_path / "train" / "0001TP_006690.png")
        write_mask(tmp_path / "trainannot" / "0001TP_006690.png", [5, 5, 5, 1])
        with pytest.raises(InputError, match=r"no known edition.*mostly id 5.*--data folder"):
            open_data_set("camvid", tmp_path, "train")

    def test_a_listed_image_must_be_there(self, tmp_path):
        write_camvid12(tmp_path, lists=True)
        (tmp_path / "images" / "0001TP_006720.png").unlink()
        with pytest.raises(InputError, match=r"train\.txt names 0001TP_006720"):
            open_data_set("camvid", tmp_path, "train")


class TestFolder:
    def test_a_sub_folder_is_a_video_in_the_order_of_its_numbers(self, tmp_path):
        data = open_data_set("folder", write_folder(tmp_path), "val")
        assert [record.name for record in data.records[:4]] == ["alone", "hall/frame0", "hall/frame1", "hall/frame2"]
        assert data.records[-1].name == "hall/frame13"
        assert data.records[-1].stamp_ns == 13 * 50_000_000
        assert [data.records[index].name for index in data.labelled] == [
            "alone", "hall/frame1", "hall/frame7", "hall/frame13",
        ]  # fmt: skip

    def test_classes_are_the_values_that_are_not_void(self, tmp_path):
        data = open_data_set("folder", write_folder(tmp_path), "val")
        assert values_of(data[data.labelled[1]]) == [255, 0, 1]
        assert data.labels.names == ("floor", "person")
        assert data.labels.dynamic == ("person",), "by its name"

    def test_a_single_image_has_no_references_a_frame_has(self, tmp_path):
        data = open_data_set("folder", write_folder(tmp_path), "val")
        assert data.references(0, (3, 6)) is None
        assert data.references(2, (3, 6)) == [1, 1]
        assert data.references(9, (3, 6)) == [6, 3]

    def test_yaml_and_everything_in_it(self, tmp_path):
        pytest.importorskip("yaml")
        write_folder(tmp_path)
        (tmp_path / "labels.json").unlink()
        (tmp_path / "labels.yaml").write_text(
            "name: hall\nnames: [floor, person]\npalette: [[1, 2, 3], [4, 5, 6]]\ndynamic: []\n"
            "void: [0, 9]\nrate_hz: 10\n"
        )
        data = open_data_set("folder", tmp_path, "train")
        assert data.labels.to_dict() == {
            "name": "hall", "names": ["floor", "person"], "palette": [[1, 2, 3], [4, 5, 6]], "dynamic": [],
        }  # fmt: skip
        assert data.title == "hall train"
        assert data.spacing_s() == pytest.approx(0.1)

    @pytest.mark.parametrize(
        ("change", "error", "told"),
        [
            ({"names": "floor"}, ConfigError, "names must be a list"),
            ({"names": ["a", "a"]}, ConfigError, "names a class twice"),
            ({"palette": [[0, 0, 0]]}, ConfigError, "2 classes but 1 colours"),
            ({"palette": 7}, ConfigError, "not iterable"),
            ({"dynamic": ["ghost"]}, ConfigError, "ghost"),
            ({"void": 0}, ConfigError, "void is 0"),
            ({"void": [256]}, ConfigError, "0..255"),
            ({"names": [str(i) for i in range(256)]}, ConfigError, "do not fit into 8-bit masks"),
            ({"rate_hz": 0}, ConfigError, "rate is 0 Hz"),
            ({"rate_hz": None}, InputError, "hall is a video; add its rate_hz"),
            ({"frequency": 3}, ConfigError, "nothing but these"),
        ],
    )
    def test_a_wrong_description_is_told(self, tmp_path, change, error, told):
        with pytest.raises(error, match=told):
            open_data_set("folder", write_folder(tmp_path, **change), "train")

    def test_a_missing_or_unreadable_description_is_told(self, tmp_path):
        write_folder(tmp_path)
        (tmp_path / "labels.json").write_text("{")
        with pytest.raises(InputError, match=r"labels\.json is not JSON"):
            open_data_set("folder", tmp_path, "train")
        (tmp_path / "labels.json").unlink()
        with pytest.raises(InputError, match=r"holds no labels\.yaml"):
            open_data_set("folder", tmp_path, "train")

    def test_what_belongs_to_nothing_is_told(self, tmp_path):
        write_folder(tmp_path)
        write_image(tmp_path / "images" / "train" / "other.png")
        with pytest.raises(InputError, match=r"other\.png has no mask"):
            open_data_set("folder", tmp_path, "train")
        write_image(tmp_path / "images" / "val" / "stairs" / "0.png")
        with pytest.raises(InputError, match="stairs has no mask"):
            open_data_set("folder", tmp_path, "val")

    def test_a_mask_folder_without_images_is_told(self, tmp_path):
        write_folder(tmp_path)
        write_mask(tmp_path / "masks" / "val" / "stairs" / "0.png", [1])
        with pytest.raises(InputError, match="stairs belongs to no folder"):
            open_data_set("folder", tmp_path, "val")


def remove(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def colour(path):
    write_image(path)


def stray(path):
    write_mask(path, [1, 200])


def shrink(path):
    write_mask(path, [1], (32, 48))


IMAGE = {
    "vspw": "data/1_a/origin/00000007.jpg",
    "cityscapes": "leftImg8bit_sequence/train/aachen/aachen_000003_000019_leftImg8bit.png",
    "camvid": "train/0001TP_006720.png",
    "folder": "images/train/hall/frame7.jpg",
}
MASK = {
    "vspw": "data/1_a/mask/00000007.png",
    "cityscapes": "gtFine/train/aachen/aachen_000003_000019_gtFine_labelIds.png",
    "camvid": "train_labels/0001TP_006720_L.png",
    "folder": "masks/train/hall/frame7.png",
}


BREAKINGS = [(IMAGE, remove), (IMAGE, cut), (IMAGE, empty)]
BREAKINGS += [(MASK, breaking) for breaking in (cut, empty, colour, stray, shrink)]


@pytest.mark.parametrize(
    ("kind", "place", "breaking"),
    # The strays of VSPW are void.
    [(kind, *broken) for kind in WRITERS for broken in BREAKINGS if (kind, broken[1]) != ("vspw", stray)],
)
def test_a_bad_file_is_told_by_name(kind, place, breaking, tmp_path):
    bad = WRITERS[kind](tmp_path) / place[kind]
    breaking(bad)
    with pytest.raises(InputError, match=bad.stem.replace("_leftImg8bit", "").removesuffix("_L")):
        open_data_set(kind, tmp_path, "train").check_frames()


@pytest.mark.parametrize("kind", ["vspw", "camvid"])
def test_a_missing_mask_is_told(kind, tmp_path):
    WRITERS[kind](tmp_path)
    (tmp_path / MASK[kind]).unlink()
    with pytest.raises(InputError, match=r"has no mask .*add the mask or remove the image"):
        open_data_set(kind, tmp_path, "train")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_cut_picture_is_not_filled_with_grey(tmp_path, suffix):
    path = write_image(tmp_path / f"image{suffix}", (200, 200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    data = open_data_set("folder", write_folder(tmp_path / "root"), "train")
    shutil.copy(path, data.records[0].image_path)
    with pytest.raises(BadFileError, match="cut off"):
        data[0]


def palette_png(mask: np.ndarray, depth: int) -> bytes:
    """A PNG with the colours of PASCAL VOC's kind, each row filtered another way."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    height, width = mask.shape
    per_byte = 8 // depth
    shifts = depth * np.arange(per_byte)[::-1]
    packed = (mask.reshape(height, -1, per_byte) << shifts).sum(axis=2).astype(np.uint8)
    above = np.vstack([np.zeros_like(packed[:1]), packed[:-1]])
    rows = [
        bytes([2]) + (row - up).tobytes() if index % 2 else bytes([0]) + row.tobytes()
        for index, (row, up) in enumerate(zip(packed, above, strict=True))
    ]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, 3, 0, 0, 0])
    colours = np.random.default_rng(0).integers(0, 256, 3 * 2**depth, np.uint8).tobytes()
    chunks = [(b"IHDR", header), (b"PLTE", colours), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(b"".join(rows)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*entry) for entry in [*chunks, (b"IEND", b"")])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_masks_with_a_palette_hold_ids_not_colours(tmp_path, depth):
    mask = np.random.default_rng(depth).integers(0, 2**depth, (64, 96), np.uint8)
    path = tmp_path / "mask.png"
    path.write_bytes(palette_png(mask, depth))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3, "OpenCV reads colours"
    assert (read_mask(path) == mask).all()


def test_hidden_files_of_a_mac_are_no_images(tmp_path):
    for path in [*write_vspw(tmp_path / "vspw").rglob("*.jpg"), *write_cityscapes(tmp_path / "city").rglob("*.png")]:
        path.with_name(f"._{path.name}").write_bytes(b"resource fork")
    for kind, root in (("vspw", tmp_path / "vspw"), ("cityscapes", tmp_path / "city")):
        open_data_set(kind, root, "val").check_frames()


def test_two_images_of_one_name_are_told(tmp_path):
    write_folder(tmp_path)
    write_image(tmp_path / "images" / "train" / "alone.jpg")
    with pytest.raises(InputError, match=r"have the same name"):
        open_data_set("folder", tmp_path, "train")


def test_many_faults_are_counted(tmp_path):
    write_vspw(tmp_path)
    for path in (tmp_path / "data" / "1_a" / "mask").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="10 such; sdcpc data check lists them"):
        open_data_set("vspw", tmp_path, "train")


@pytest.mark.parametrize("kind", ["vspw", "cityscapes", "camvid"])
def test_an_unknown_split_is_told(kind, tmp_path):
    with pytest.raises(ConfigError, match="no split 'training'"):
        open_data_set(kind, WRITERS[kind](tmp_path), "training")


def test_a_root_without_data_is_told(tmp_path):
    with pytest.raises(InputError, match=r"holds no gtFine/train"):
        find_splits("cityscapes", tmp_path)


def test_faults_survive_the_way_out_of_a_loader_process(tmp_path):
    error = BadFileError(f"{tmp_path} is bad", fault="bad", path=tmp_path)
    assert str(type(error)(str(error))) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_frame_number_needs_no_regular_step(tmp_path):
    write_vspw(tmp_path)
    for folder, suffix in (("origin", "jpg"), ("mask", "png")):
        (tmp_path / "data" / "1_a" / folder / f"00000009.{suffix}").unlink()
    data = open_data_set("vspw", tmp_path, "train")
    stamps = [record.stamp_ns for record in data.records]
    assert stamps[4] - stamps[3] == pytest.approx(2e9 / 15, abs=2), "a missing frame leaves a gap"


def test_images_of_one_s_own_may_be_grey(tmp_path):
    write_folder(tmp_path)
    cv2.imwrite(str(tmp_path / "images" / "train" / "alone.png"), np.full((64, 96), 90, np.uint8))
    assert (open_data_set("folder", tmp_path, "train")[0].image == 90).all()


def test_json_names_may_be_numbers(tmp_path):
    write_vspw(tmp_path)
    names = {f"n{value}": value for value in range(125)} | {"void": 255}
    (tmp_path / "label_num_dic_final.json").write_text(json.dumps(names))
    assert open_data_set("vspw", tmp_path, "train").labels.names[0] == "n1"
