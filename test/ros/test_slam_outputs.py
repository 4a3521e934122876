"""Masks, edited depth and their pairing, on cases worked out by hand."""

import array
from types import SimpleNamespace

import numpy as np
import pytest

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import CAMVID
from sdcpc_ros.conversions import ns_to_stamp
from sdcpc_ros.slam_outputs import (
    PRESETS,
    DepthPairing,
    MaskConvention,
    dynamic_pixels,
    mask_class_ids,
    mask_convention,
    without_dynamic,
)

CAR, PEDESTRIAN, BICYCLIST = 8, 9, 10


def test_each_stack_gets_its_polarity():
    black_ignores = {name for name, convention in PRESETS.items() if not convention.dynamic_is_white}
    assert black_ignores == {"stella_vslam"}
    assert mask_convention("cuvslam") == MaskConvention(dynamic_is_white=True, one_per_image=True)
    assert mask_convention("nvblox") == MaskConvention(dynamic_is_white=True, one_per_image=False)


def test_what_is_asked_for_goes_before_the_preset():
    assert mask_convention("cuvslam", "dynamic_black", "none") == MaskConvention(False, False)
    assert mask_convention("stella_vslam", "dynamic_white", "last") == MaskConvention(True, True)


def test_masked_classes_are_the_dynamic_ones_unless_named():
    assert mask_class_ids(CAMVID, ("",)) == (CAR, PEDESTRIAN, BICYCLIST)
    assert mask_class_ids(CAMVID, ("Sky", "Car")) == (0, CAR)
    with pytest.raises(ConfigError, match=r"\['car'\], but the classes are Sky, Building"):
        mask_class_ids(CAMVID, ("car",))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_mask_is_white_on_its_classes_alone(dtype):
    label_map = np.array([[0, CAR, 3], [BICYCLIST, 255, 9]], dtype)
    assert dynamic_pixels(label_map, (CAR, BICYCLIST)).tolist() == [[0, 255, 0], [255, 0, 0]]
    assert not dynamic_pixels(label_map, ()).any()


def test_dilation_grows_a_pixel_into_a_disc():
    label_map = np.zeros((9, 9), np.uint8)
    label_map[4, 4] = CAR
    grown = dynamic_pixels(label_map, (CAR,), dilation_px=2)
    rows, columns = np.nonzero(grown)
    assert set(np.unique(grown)) == {0, 255}
    assert grown[4, 2] == grown[4, 6] == grown[2, 4] == grown[6, 4] == 255
    assert grown[2, 2] == grown[6, 6] == 0
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 2, 6)


class Depth(SimpleNamespace):
    """A message that can be made like a ROS message."""


def depth_message(values: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False, stamp_ns: int = 0):
    rows = values.astype(values.dtype.newbyteorder(">" if big_endian else "<")).view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Depth(
        header=SimpleNamespace(stamp=ns_to_stamp(stamp_ns, SimpleNamespace), frame_id="depth_optical"),
        height=values.shape[0],
        width=values.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("encoding", "dtype"), [("16UC1", np.uint16), ("32FC1", np.float32), ("mono16", np.uint16)])
def test_depth_keeps_everything_but_the_masked_pixels(encoding, dtype, padding, big_endian):
    values = np.array([[1500, 2500, 3500], [400, 65000, 6]], dtype)
    depth = depth_message(values, encoding, padding=padding, big_endian=big_endian)
    before = bytes(depth.data)
    edited = without_dynamic(depth, np.array([[0, 255, 0], [255, 0, 0]], np.uint8))
    expected_values = (values * np.array([[1, 0, 1], [0, 1, 1]])).astype(dtype)
    expected = depth_message(expected_values, encoding, padding=padding, big_endian=big_endian)
    assert vars(edited) | {"header": None} == vars(expected) | {"header": None}
    assert edited.header is depth.header
    assert bytes(depth.data) == before, "others may hold the message"


def test_smaller_registered_depth_takes_the_nearest_pixels_of_the_mask():
    mask = np.zeros((4, 8), np.uint8)
    mask[:, 4:] = 255
    depth = depth_message(np.full((2, 4), 9, np.uint16), "16UC1")
    edited = np.frombuffer(without_dynamic(depth, mask).data, np.uint16).reshape(2, 4)
    assert edited.tolist() == [[9, 9, 0, 0]] * 2


def test_what_is_no_registered_depth_is_refused():
    mask = np.zeros((4, 8), np.uint8)
    with pytest.raises(InputError, match="'rgb8' is no depth image"):
        without_dynamic(depth_message(np.zeros((4, 24), np.uint8), "rgb8"), mask)
    with pytest.raises(InputError, match="depth of 5x4 pixels is not registered to an image of 8x4"):
        without_dynamic(depth_message(np.zeros((4, 5), np.uint16), "16UC1"), mask)
    short = depth_message(np.zeros((4, 8), np.uint16), "16UC1")
    short.data = short.data[:20]
    with pytest.raises(InputError, match="20 bytes"):
        without_dynamic(short, mask)


def depth_at(stamp_ns: int) -> Depth:
    return depth_message(np.ones((1, 1), np.uint16), "16UC1", stamp_ns=stamp_ns)


def test_exact_stamps_pair_whichever_comes_first():
    pairing, one, other = DepthPairing(0), depth_at(100), depth_at(200)
    assert pairing.add_depth(one) is None
    assert pairing.add_mask(100, "mask 1") is one
    assert pairing.add_mask(200, "mask 2") is None
    assert pairing.add_depth(other) == "mask 2"
    assert pairing.add_mask(201, "mask 3") is None
    assert pairing.add_depth(depth_at(202)) is None


def test_within_the_tolerance_the_nearest_is_taken_and_none_twice():
    pairing = DepthPairing(10)
    depths = [depth_at(stamp_ns) for stamp_ns in (80, 95, 104, 150)]
    for depth in depths:
        assert pairing.add_depth(depth) is None
    assert pairing.add_mask(100, "mask") is depths[2]
    assert pairing.add_mask(101, "mask") is None
    assert pairing.add_mask(155, "mask") is depths[3]


def test_after_a_clear_nothing_old_is_paired():
    pairing = DepthPairing(0)
    pairing.add_depth(depth_at(100))
    pairing.clear()
    assert pairing.add_mask(100, "mask") is None
