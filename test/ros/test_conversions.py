"""Image messages and numpy: every encoding, padding, byte order, and what is refused."""

import array
from types import SimpleNamespace

import numpy as np
import pytest

from sdcpc_core.errors import InputError
from sdcpc_ros.conversions import SUPPORTED_ENCODINGS, array_to_image, image_to_rgb, ns_to_stamp, stamp_to_ns

HEIGHT, WIDTH = 6, 8
FLAT_YUV, FLAT_RGB = (137, 78, 167), (203, 129, 40)  # one colour, by the equations of BT.601


def message(pixels: np.ndarray, encoding: str, *, padding: int = 0, height: int = HEIGHT, big_endian: bool = False):
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return SimpleNamespace(
        height=height,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )


@pytest.fixture
def rgb() -> np.ndarray:
    """(6, 8, 3) RGB noise."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
def test_colour_orders_and_row_padding(rgb, encoding, order, padding):
    assert np.array_equal(image_to_rgb(message(rgb[..., order], encoding, padding=padding)), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_equal_channels(rgb, encoding):
    grey = rgb[..., 0]
    assert np.array_equal(image_to_rgb(message(grey, encoding, padding=3)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("big_endian", [False, True])
def test_sixteen_bits_keep_the_high_byte_in_either_order(rgb, big_endian):
    wide = (rgb.astype(np.uint16) << 8 | 0x5A).astype(">u2" if big_endian else "<u2")
    assert np.array_equal(image_to_rgb(message(wide, "rgb16", padding=4, big_endian=big_endian)), rgb)


@pytest.mark.parametrize(
    ("encoding", "first_two_rows"),
    [("bayer_rggb8", "rggb"), ("bayer_bggr8", "bggr"), ("bayer_gbrg8", "gbrg"), ("bayer_grbg8", "grbg")],
)
def test_bayer_patterns_give_back_a_flat_colour(encoding, first_two_rows):
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[c] for c in first_two_rows], np.uint8).reshape(2, 2)
    converted = image_to_rgb(message(np.tile(tile, (HEIGHT // 2, WIDTH // 2)), encoding, padding=2))
    assert np.array_equal(converted, np.full((HEIGHT, WIDTH, 3), (200, 120, 40)))


@pytest.mark.parametrize(
    ("encoding", "luma_first"), [("yuv422_yuy2", True), ("yuyv", True), ("yuv422", False), ("uyvy", False)]
)
def test_yuv422_gives_back_a_flat_colour(encoding, luma_first):
    y, u, v = FLAT_YUV
    pair = [[y, u], [y, v]] if luma_first else [[u, y], [v, y]]
    converted = image_to_rgb(message(np.tile(np.uint8(pair), (HEIGHT, WIDTH // 2, 1)), encoding, padding=2))
    assert converted.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(converted.astype(int) - FLAT_RGB).max() <= 2


@pytest.mark.parametrize(("encoding", "chroma"), [("nv12", FLAT_YUV[1:]), ("nv21", FLAT_YUV[:0:-1])])
def test_half_planes_lie_below_the_picture(encoding, chroma):
    rows = np.vstack([np.full((HEIGHT, WIDTH), FLAT_YUV[0]), np.tile(chroma, (HEIGHT // 2, WIDTH // 2))]).astype(
        np.uint8
    )
    converted = image_to_rgb(message(rows, encoding, padding=2))
    assert converted.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(converted.astype(int) - FLAT_RGB).max() <= 2


@pytest.mark.parametrize(
    "encoding",
    [
        *("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"),
        *("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"),
    ],
)
def test_pixels_are_those_of_another_converter(encoding):
    peer = pytest.importorskip("rosbags.image")
    bytes_per_pixel = {"rgba8": 4, "bgra8": 4, "mono8": 1, "rgb8": 3, "bgr8": 3}.get(
        encoding, 1 if encoding.startswith("bayer") else 2
    )
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH * bytes_per_pixel), dtype=np.uint8)
    picture = message(noise, encoding)
    theirs = peer.message_to_cvimage(SimpleNamespace(**vars(picture) | {"data": noise.reshape(-1)}), "rgb8")
    assert np.array_equal(image_to_rgb(picture), theirs)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_is_told_so(rgb, encoding):
    with pytest.raises(InputError, match="depth"):
        image_to_rgb(message(rgb, encoding))


def test_unknown_encoding_names_itself_and_what_is_supported(rgb):
    with pytest.raises(InputError, match="'jpeg' is not supported; supported are rgb8, bgr8"):
        image_to_rgb(message(rgb, "jpeg"))
    assert "bayer_rggb16" in SUPPORTED_ENCODINGS


@pytest.mark.parametrize("change", [{"step": 23}, {"data": b"\0" * 10}, {"height": 0}, {"width": 0}])
def test_data_that_do_not_fit_the_size_are_refused(rgb, change):
    broken = message(rgb, "rgb8")
    vars(broken).update(change)
    with pytest.raises(InputError, match="step"):
        image_to_rgb(broken)


def test_odd_width_cannot_be_yuv422(rgb):
    broken = message(rgb[..., :2], "yuyv")
    broken.width = 7
    with pytest.raises(InputError, match="yuyv"):
        image_to_rgb(broken)


@pytest.mark.parametrize(
    ("pixels", "encoding", "step"),
    [
        (np.arange(48, dtype=np.uint8).reshape(6, 8), "mono8", 8),
        (np.arange(48, dtype=np.uint16).reshape(6, 8) * 300, "mono16", 16),
        (np.arange(144, dtype=np.uint8).reshape(6, 8, 3), "rgb8", 24),
        (np.arange(96, dtype=np.uint8).reshape(6, 16)[:, ::2], "mono8", 8),
    ],
)
def test_arrays_become_images(pixels, encoding, step):
    packed = array_to_image(pixels, header="kept", image_class=SimpleNamespace)
    assert (packed.header, packed.encoding, packed.step, packed.height, packed.width) == ("kept", encoding, step, 6, 8)
    assert packed.data.tobytes() == pixels.tobytes()


def test_arrays_without_an_encoding_are_refused():
    with pytest.raises(InputError, match="float32"):
        array_to_image(np.zeros((6, 8), np.float32), header=None, image_class=SimpleNamespace)


def test_ros_message_holds_the_bytes_of_the_array(rgb):
    std_msgs = pytest.importorskip("std_msgs.msg")
    packed = array_to_image(rgb, std_msgs.Header(frame_id="camera"))
    assert packed.header.frame_id == "camera"
    assert isinstance(packed.data, array.array)
    assert np.array_equal(image_to_rgb(packed), rgb)


def test_stamps_keep_every_nanosecond():
    stamp = ns_to_stamp(1_700_000_000_123_456_789, SimpleNamespace)
    assert (stamp.sec, stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert stamp_to_ns(stamp) == 1_700_000_000_123_456_789
