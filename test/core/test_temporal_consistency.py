import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdcpc_core.data.synthetic.drive import SyntheticDrive
from sdcpc_core.errors import InputError
from sdcpc_core.metrics.confusion import mIoU
from sdcpc_core.metrics.temporal_consistency import (
    TemporalConsistency,
    dis_flow,
    flicker_map,
    occluded,
    warp_back,
)

BLACK = np.zeros((1, 4, 3), np.uint8)


def constant_flow(dx, dy=0.0, size_hw=(1, 4)):
    return np.broadcast_to(np.float32([dx, dy]), (*size_hw, 2))


def temporal_consistency(label_maps, flow, num_classes=3):
    metric = TemporalConsistency(num_classes, flow)
    return sum(metric.update(BLACK, np.array([labels], np.uint8)) for labels in label_maps)


def test_warping_by_hand():
    flow = np.float32([[[1, 0], [0.4, 0], [-3, 0], [np.nan, 0]], [[0, -1], [0, 0.6], [2, 0], [0, 0]]])
    label_map = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.uint8)
    warped, inside = warp_back(label_map, flow)
    assert warped.tolist() == [[1, 1, 0, 3], [0, 5, 7, 7]]
    assert inside.tolist() == [[True, True, False, False], [True, False, False, True]]


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint16, (3, 4), elements=st.integers(0, 300)),
    arrays(np.float32, (3, 4, 2), elements=st.floats(-5, 5, width=32)),
)
def test_warping_equals_a_naive_loop(label_map, flow):
    warped, inside = warp_back(label_map, flow)
    for row in range(3):
        for column in range(4):
            x, y = (round(float(np.float64(at) + d)) for at, d in zip((column, row), flow[row, column], strict=True))
            assert inside[row, column] == (0 <= x < 4 and 0 <= y < 3)
            assert warped[row, column] == label_map[min(max(y, 0), 2), min(max(x, 0), 3)]


def test_labels_that_move_with_the_image_are_consistent():
    there_and_back = {True: constant_flow(1.0), False: constant_flow(-1.0)}
    order = iter([True, False] * 2)
    sums = temporal_consistency([[1, 0, 0, 0], [2, 1, 0, 0], [2, 2, 1, 0]], lambda *_: there_and_back[next(order)])
    # The last pixel leaves the image: without a mask it is compared with the border, with one it is left out.
    assert sums[:, 1].sum(axis=-1).tolist() == [8, 6]
    assert mIoU(sums).tolist() == [100, 100]


def test_temporal_consistency_by_hand():
    sums = temporal_consistency([[0, 0, 1, 1], [0, 1, 1, 2]], lambda *_: constant_flow(0.0))
    # Class 0: one hit, two before, one after; class 1: one hit, two before, two after; class 2 is absent before.
    assert sums[0].tolist() == [[1, 1, 0], [2, 2, 0], [1, 2, 1]]
    assert mIoU(sums[0]) == pytest.approx((100 / 2 + 100 / 3) / 2)
    assert (sums[1] == sums[0]).all()


def test_the_first_frame_and_ids_outside_the_classes_count_for_nothing():
    assert not temporal_consistency([[0, 1, 2, 2]], None).any()
    sums = temporal_consistency([[0, 255, 0, 0], [0, 0, 255, 0]], lambda *_: constant_flow(0.0))
    assert sums[0, :, 0].tolist() == [2, 3, 2]


def test_occlusion_by_hand():
    none = constant_flow(0.0, size_hw=(5, 8))
    assert not occluded(none, none).any()
    assert not occluded(constant_flow(1.0, size_hw=(5, 8)), constant_flow(-1.0, size_hw=(5, 8))).any()
    # Forth and back end one pixel apart, and 1 > 0.01 (1 + 0) + 0.5.
    assert occluded(constant_flow(1.0, size_hw=(5, 8)), none).all()
    # A step of 1 between columns 3 and 4: 1 > 0.002 left of it, where the flow is 0.
    step = np.zeros((5, 8, 2), np.float32)
    step[:, 4:, 1] = 1
    boundary = occluded(step, -step)
    assert boundary[:, 3].all()
    assert boundary.sum() == 5


@settings(max_examples=25, deadline=None)
@given(*[arrays(np.float32, (3, 4, 2), elements=st.integers(-2, 2).map(float))] * 2)
def test_occlusion_equals_the_formula_pixel_by_pixel(forward, backward):
    mask = occluded(forward, backward)
    for y in range(3):
        for x in range(4):
            u, v = forward[y, x]
            # Whole steps end on a pixel; beyond the image lies its border.
            back = backward[min(max(int(y + v), 0), 2), min(max(int(x + u), 0), 3)]
            size = u * u + v * v
            hidden = (u + back[0]) ** 2 + (v + back[1]) ** 2 > 0.01 * (size + back @ back) + 0.5
            slope = sum(
                ((forward[there] - forward[y, x]) ** 2).sum()
                for there in ((y, x + 1), (y + 1, x))
                if there[0] < 3 and there[1] < 4
            )
            assert mask[y, x] == (hidden or slope > 0.01 * size + 0.002)


@pytest.fixture(scope="module")
def drive():
    """Neighbouring frames of drives, with exact flow forth and back."""
    pairs = []
    for seed in (0, 3):
        drawn = SyntheticDrive(seed, (360, 480))
        pairs.append((drawn.frame(20, flow_to=21), drawn.frame(21, flow_to=20)))
    return pairs


def of_pair(before, after, flow=None):
    metric = TemporalConsistency(11, flow)
    metric.update(before.image, before.label_map)
    return metric.update(after.image, after.label_map)


def accuracy(tallies):
    return 100 * tallies[0].sum() / tallies[1].sum()


def test_exact_labels_move_with_the_exact_flow(drive):
    for before, after in drive:
        flows = iter([before.flow, after.flow])
        everywhere, visible = of_pair(before, after, lambda *_, flows=flows: next(flows))
        assert accuracy(visible) > 99.4
        assert mIoU(visible) > 93 > mIoU(everywhere)


def test_what_differs_under_the_exact_flow_is_the_rounding_to_the_nearest_pixel(drive):
    for before, after in drive:
        steps = [np.float32([dx, dy]) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        warped, inside = zip(*(warp_back(after.label_map, before.flow + step) for step in steps), strict=True)
        seen = inside[4] & ~occluded(before.flow, after.flow)
        around = np.any([labels == before.label_map for labels in warped], axis=0)
        assert around[seen].mean() > 0.9995


def test_the_flow_found_in_the_images_comes_close(drive):
    for before, after in drive:
        everywhere, visible = of_pair(before, after)
        standing_still = of_pair(before, after, lambda *_: np.zeros((360, 480, 2), np.float32))[0]
        assert min(accuracy(everywhere), accuracy(visible)) > 97
        assert mIoU(everywhere) > mIoU(standing_still) + 15


def test_flow_of_two_sizes_is_refused():
    with pytest.raises(InputError, match="same size"):
        dis_flow(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 40, 3), np.uint8))


def test_flicker_by_hand():
    frames = [np.array([labels]) for labels in ([0, 0, 0], [0, 1, 0], [0, 2, 2])]
    assert flicker_map(iter(frames)).tolist() == [[0, 1, 0.5]]
    with pytest.raises(InputError, match="two"):
        flicker_map(frames[:1])
