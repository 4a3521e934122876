import numpy as np
import pytest

from sdcpc_core.errors import InputError
from sdcpc_core.metrics import ConfusionMatrix, mean_consistency, video_consistency


def confusion(prediction, truth, num_classes=3) -> ConfusionMatrix:
    matrix = ConfusionMatrix(num_classes, 255)
    matrix.update(np.array(prediction, np.uint8), np.array(truth, np.uint8))
    return matrix


def test_figures_by_hand():
    # Class 0: 2 hits, 1 miss, 1 false alarm; class 1: 1 hit, 1 miss, 1 false alarm; class 2 absent.
    matrix = confusion([0, 0, 1, 1, 0, 2], [0, 0, 0, 1, 1, 255])
    assert matrix.iou_per_class()[:2].tolist() == pytest.approx([50.0, 100 / 3])
    assert np.isnan(matrix.iou_per_class()[2])
    assert matrix.mIoU() == pytest.approx((50 + 100 / 3) / 2)
    assert matrix.WIoU() == pytest.approx(0.6 * 50 + 0.4 * 100 / 3)
    assert matrix.pixel_accuracy() == pytest.approx(60.0)


def test_an_absent_class_that_is_predicted_costs_the_others_only():
    matrix = confusion([0, 2], [0, 0])
    assert matrix.mIoU() == pytest.approx(50.0)


def test_unlabelled_predictions_are_misses():
    matrix = confusion([0, 255], [0, 0])
    assert matrix.mIoU() == pytest.approx(50.0)
    assert matrix.pixel_accuracy() == pytest.approx(50.0)


def test_updates_add_up():
    whole = confusion([0, 1, 2, 2], [0, 1, 1, 2])
    parts = confusion([0, 1], [0, 1])
    parts.update(np.array([2, 2], np.uint8), np.array([1, 2], np.uint8))
    assert (parts.counts == whole.counts).all()


def test_nothing_labelled_gives_nan_not_zero():
    matrix = confusion([0, 1], [255, 255])
    assert np.isnan([matrix.mIoU(), matrix.WIoU(), matrix.pixel_accuracy()]).all()


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="differ in shape"):
        confusion([0, 1], [0])
    with pytest.raises(InputError, match="class 7"):
        confusion([0], [7])


def clip(*frames) -> np.ndarray:
    return np.array(frames, np.uint8)[:, None]


def test_video_consistency_by_hand():
    truth = clip([0, 1, 1, 255], [0, 1, 0, 1], [0, 1, 0, 1])
    prediction = clip([0, 2, 1, 1], [0, 2, 1, 1], [1, 2, 0, 1])
    # Window 0-1: steady truth in pixels 0 and 1; the prediction is steady in both, right in pixel 0.
    # Window 1-2: steady truth in all four; the prediction is steady in pixels 1 and 3, right in pixel 3.
    measured = video_consistency([(prediction, truth)], 2, 255)
    assert measured.windows == 2
    assert measured.exact == pytest.approx(100 * (1.0 + 0.5) / 2)
    assert measured.strict == pytest.approx(100 * (0.5 + 0.25) / 2)


def test_a_constant_map_is_consistent_but_not_strictly():
    truth = clip([0, 1], [0, 1])
    measured = video_consistency([(np.zeros_like(truth), truth)], 2, 255)
    assert (measured.exact, measured.strict) == (100.0, 50.0)


def test_the_last_window_counts_and_clips_are_pooled():
    steady = clip([0], [0], [0])
    flicker = clip([0], [1])
    pooled = video_consistency([(steady, steady), (flicker, clip([0], [0]))], 2, 255)
    assert pooled.windows == 3
    assert pooled.exact == pytest.approx(100 * 2 / 3)
    assert video_consistency([(steady, steady)], 3, 255).windows == 1


def test_clips_measured_alone_count_as_if_measured_together():
    clips = [(clip([0], [0], [0]), clip([0], [0], [0])), (clip([0], [1]), clip([0], [0])), (clip([0]), clip([0]))]
    together = video_consistency(clips, 2, 255)
    alone = mean_consistency([video_consistency([c], 2, 255) for c in clips])
    assert (alone.exact, alone.strict) == pytest.approx((together.exact, together.strict))
    assert alone.windows == together.windows == 3
    assert np.isnan(mean_consistency([video_consistency(clips[2:], 2, 255)]).exact)


def test_windows_without_a_steady_pixel_are_skipped():
    measured = video_consistency([(clip([0], [0]), clip([0], [1]))], 2, 255)
    assert measured.windows == 0
    assert np.isnan(measured.exact)


def test_clips_shorter_than_the_window_give_nothing():
    assert video_consistency([(clip([0]), clip([0]))], 2, 255).windows == 0
