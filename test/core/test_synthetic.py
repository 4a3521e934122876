"""The synthetic drive: repeatable, exact, and a street with everything in it."""

import cv2
import numpy as np
import pytest

from sdcpc_core.data.synthetic import SyntheticDrive
from sdcpc_core.errors import ConfigError

SIZE = (120, 160)
CAR, PEDESTRIAN, BICYCLIST = 8, 9, 10


@pytest.fixture(scope="module")
def drives():
    return [SyntheticDrive(seed, SIZE) for seed in range(4)]


def _near_edge(label_map):
    return cv2.morphologyEx(label_map, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0


def _follow(frame, back):
    """Where each pixel goes, (H, W) indices, and whether it is seen there; `back` has the flow back."""
    height, width = frame.label_map.shape
    rows, columns = np.mgrid[:height, :width]
    flow = np.nan_to_num(frame.flow)
    x = np.round(columns + flow[..., 0]).astype(int).clip(0, width - 1)
    y = np.round(rows + flow[..., 1]).astype(int).clip(0, height - 1)
    # Rounding moves the target by up to half a pixel; a surface in front would lead back elsewhere.
    loop = np.linalg.norm(frame.flow + back.flow[y, x], axis=-1)
    return y, x, loop < 1.2


def test_same_seed_gives_the_same_bytes_in_any_order():
    first, second = SyntheticDrive(5, SIZE), SyntheticDrive(5, SIZE)
    forward = [first.frame(i, flow_to=0) for i in (0, 3, 200)]
    backward = [second.frame(i, flow_to=0) for i in (200, 3, 0)][::-1]
    for a, b in zip(forward, backward, strict=True):
        for name in ("image", "label_map", "flow", "moving"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert a.stamp_ns == b.stamp_ns


def test_frames_are_the_frames_by_index(drives):
    for index, frame in enumerate(drives[0].frames(3)):
        np.testing.assert_array_equal(frame.image, drives[0].frame(index).image)
        assert frame.flow is None


def test_the_world_does_not_depend_on_the_rate():
    slow = SyntheticDrive(2, SIZE, rate_hz=15.0).frame(10, flow_to=8)
    fast = SyntheticDrive(2, SIZE, rate_hz=30.0).frame(20, flow_to=16)
    assert slow.stamp_ns == fast.stamp_ns == 666_666_667
    np.testing.assert_array_equal(slow.label_map, fast.label_map)
    np.testing.assert_array_equal(slow.moving, fast.moving)
    np.testing.assert_allclose(slow.flow, fast.flow, atol=1e-3)
    # The sensor noise differs, the picture under it does not.
    difference = cv2.blur(slow.image, (9, 9)).astype(int) - cv2.blur(fast.image, (9, 9))
    assert np.abs(difference).mean() < 1.0


def test_seeds_differ(drives):
    images = [drive.frame(0).image.astype(int) for drive in drives]
    assert all(np.abs(images[i] - images[j]).mean() > 5 for i in range(4) for j in range(i))


def test_types_ranges_and_all_classes(drives):
    found = set()
    for drive in drives:
        for index in (0, 90, 180, 400):
            frame = drive.frame(index)
            assert frame.image.shape == (*SIZE, 3)
            assert frame.image.dtype == np.uint8
            assert frame.label_map.shape == SIZE
            assert frame.label_map.dtype == np.uint8
            assert frame.moving.dtype == bool
            found |= set(np.unique(frame.label_map).tolist())
    assert found - {255} == set(range(11))


@pytest.mark.parametrize(("start", "end"), [(30, 33), (60, 54)])
def test_flow_leads_to_the_same_surface(drives, start, end):
    followed, stayed = [], []
    for drive in drives:
        here, there = drive.frame(start, flow_to=end), drive.frame(end, flow_to=start)
        y, x, seen = _follow(here, there)
        seen &= ~_near_edge(here.label_map) & ~_near_edge(there.label_map)[y, x]
        assert seen.mean() > 0.2
        assert (here.label_map == there.label_map[y, x])[seen].mean() >= 0.99
        # Smoothed against the sensor noise, which is what is left where the flow is right.
        a, b = (cv2.GaussianBlur(frame.image, (5, 5), 1.2).astype(np.float32) for frame in (here, there))
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
        flow = np.nan_to_num(here.flow)
        warped = cv2.remap(b, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
        followed.append(np.abs(a - warped).mean(-1)[seen])
        stayed.append(np.abs(a - b).mean(-1)[seen])
    assert np.concatenate(followed).mean() < 6
    assert np.concatenate(followed).mean() < 0.6 * np.concatenate(stayed).mean()


def test_flow_to_itself_is_zero(drives):
    np.testing.assert_allclose(drives[1].frame(7, flow_to=7).flow, 0, atol=2e-3)


def test_flow_there_and_back_cancels(drives):
    here, there = drives[3].frame(40, flow_to=43), drives[3].frame(43, flow_to=40)
    y, x, seen = _follow(here, there)
    in_view = np.isfinite(here.flow[..., 0]) & np.isfinite(there.flow[..., 0][y, x])
    assert seen[in_view].mean() > 0.85


def test_flow_leaving_the_image_is_nan(drives):
    frame = drives[0].frame(30, flow_to=45)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    target = np.stack([columns, rows], axis=-1) + frame.flow
    valid = np.isfinite(frame.flow).all(-1)
    assert not valid.all()
    assert (target[valid] > -0.5).all()
    assert (target[valid] < np.array(SIZE[::-1]) - 0.5).all()


def test_the_sky_only_turns(drives):
    """At infinity a rotation is all there is: the flow is a homography with no parallax."""
    frame = drives[1].frame(20, flow_to=26)
    rows, columns = np.nonzero((frame.label_map == 0) & np.isfinite(frame.flow[..., 0]))
    here = np.stack([columns, rows], axis=-1).astype(np.float64)
    there = here + frame.flow[rows, columns]
    homography, _ = cv2.findHomography(here, there)
    fitted = cv2.perspectiveTransform(here[None], homography)[0]
    np.testing.assert_allclose(fitted, there, atol=0.02)


def test_what_moves_is_a_road_user(drives):
    frames = [drive.frame(index) for drive in drives for index in (0, 100, 200)]
    assert any(frame.moving.any() for frame in frames)
    for frame in frames:
        assert np.isin(frame.label_map[frame.moving], [CAR, PEDESTRIAN, BICYCLIST]).all()


def test_still_ground_follows_the_camera_alone(drives):
    """Road points move by the homography of one plane, whatever traffic does."""
    frame = drives[2].frame(30, flow_to=32)
    assert not frame.moving[frame.label_map == 3].any()
    rows, columns = np.nonzero((frame.label_map == 3) & np.isfinite(frame.flow[..., 0]))
    here = np.stack([columns, rows], axis=-1).astype(np.float64)
    there = here + frame.flow[rows, columns]
    homography, _ = cv2.findHomography(here, there)
    np.testing.assert_allclose(cv2.perspectiveTransform(here[None], homography)[0], there, atol=0.05)


@pytest.mark.parametrize("size", [(33, 47), (32, 32), (160, 90), (61, 200)])
def test_any_size(size):
    frame = SyntheticDrive(3, size).frame(4, flow_to=5)
    assert frame.image.shape == (*size, 3)
    assert frame.flow.shape == (*size, 2)
    assert frame.label_map.max() <= 10 or set(np.unique(frame.label_map)) <= {*range(11), 255}


def test_the_street_has_no_end():
    frame = SyntheticDrive(1, (48, 64), rate_hz=1.0).frame(100_000)
    assert len(np.unique(frame.label_map)) > 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 0, "size_hw": (31, 64)}, "size_hw"),
        ({"seed": 0, "rate_hz": 0.0}, "rate_hz"),
        ({"seed": 0, "rate_hz": float("nan")}, "rate_hz"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_drives_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticDrive(**arguments)


def test_negative_frames_are_refused(drives):
    with pytest.raises(ConfigError, match="-1"):
        drives[0].frame(-1)
    with pytest.raises(ConfigError, match="flow_to=-2"):
        drives[0].frame(0, flow_to=-2)
