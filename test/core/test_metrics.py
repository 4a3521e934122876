import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.metrics.video_consistency import VideoConsistency, mVC, mVC_strict, mVC_vspw_script

VOID = 255


def confusion(prediction, truth, num_classes=3) -> ConfusionMatrix:
    matrix = ConfusionMatrix(num_classes, VOID)
    matrix.update(np.array(prediction, np.uint8), np.array(truth, np.uint8))
    return matrix


def test_figures_by_hand():
    # Class 0: 2 hits, 1 miss, 1 false alarm; class 1: 1 hit, 1 miss, 1 false alarm; class 2 absent.
    matrix = confusion([0, 0, 1, 1, 0, 2], [0, 0, 0, 1, 1, 255])
    assert matrix.iou_per_class()[:2].tolist() == pytest.approx([50.0, 100 / 3])
    assert np.isnan(matrix.iou_per_class()[2])
    assert matrix.mIoU() == matrix.mIoU_mmseg() == pytest.approx((50 + 100 / 3) / 2)
    assert matrix.WIoU() == pytest.approx(0.6 * 50 + 0.4 * 100 / 3)
    assert matrix.pixel_accuracy() == pytest.approx(60.0)


def test_an_absent_class_that_is_predicted_counts_as_zero_by_one_rule_only():
    matrix = confusion([0, 2], [0, 0])
    assert matrix.mIoU() == pytest.approx(50.0)
    assert matrix.mIoU_mmseg() == pytest.approx(25.0)


def test_unlabelled_predictions_are_misses():
    matrix = confusion([0, 255], [0, 0])
    assert matrix.mIoU() == matrix.mIoU_mmseg() == pytest.approx(50.0)
    assert matrix.pixel_accuracy() == pytest.approx(50.0)


def test_updates_add_up():
    whole = confusion([0, 1, 2, 2], [0, 1, 1, 2])
    parts = confusion([0, 1], [0, 1])
    parts.update(np.array([2, 2], np.uint8), np.array([1, 2], np.uint8))
    assert (parts.counts == whole.counts).all()


def test_nothing_labelled_gives_nan_not_zero():
    matrix = confusion([0, 1], [255, 255])
    assert np.isnan([matrix.mIoU(), matrix.mIoU_mmseg(), matrix.WIoU(), matrix.pixel_accuracy()]).all()


def test_one_class():
    matrix = confusion([0, 255, 0], [0, 0, 255], num_classes=1)
    assert matrix.mIoU() == matrix.WIoU() == matrix.pixel_accuracy() == pytest.approx(50.0)


def test_more_than_255_classes():
    matrix = ConfusionMatrix(300, 65535)
    truth = np.array([[299, 256, 65535]], np.uint16)
    matrix.update(np.array([[299, 0, 7]], np.uint16), truth)
    assert matrix.counts.sum() == 2
    assert matrix.mIoU() == pytest.approx(50.0)
    assert matrix.mIoU_mmseg() == pytest.approx(100 / 3)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="differ in shape"):
        confusion([0, 1], [0])
    with pytest.raises(InputError, match="class 7"):
        confusion([0], [7])


def label_maps(frames: int, ids=(0, 1, 2, VOID)):
    return arrays(np.uint8, (frames, 3, 4), elements=st.sampled_from(ids))


@settings(max_examples=60, deadline=None)
@given(label_maps(1), label_maps(1))
def test_figures_equal_a_naive_count(prediction, truth):
    matrix = confusion(prediction, truth)
    iou, weights, absent = {}, {}, 0
    labelled = [(p, t) for p, t in zip(prediction.ravel(), truth.ravel(), strict=True) if t != VOID]
    for label in range(3):
        hits = sum(p == t == label for p, t in labelled)
        union = sum(label in (p, t) for p, t in labelled)
        weights[label] = sum(t == label for _, t in labelled)
        if weights[label]:
            iou[label] = 100 * hits / union
        else:
            absent += union > 0
    if not iou:
        assert np.isnan(matrix.mIoU())
        return
    assert matrix.mIoU() == pytest.approx(sum(iou.values()) / len(iou))
    assert matrix.mIoU_mmseg() == pytest.approx(sum(iou.values()) / (len(iou) + absent))
    assert matrix.WIoU() == pytest.approx(sum(weights[c] * iou[c] for c in iou) / len(labelled))
    assert matrix.pixel_accuracy() == pytest.approx(100 * sum(p == t for p, t in labelled) / len(labelled))


@settings(max_examples=30, deadline=None)
@given(label_maps(2, ids=(0, 1, 2)), label_maps(2))
def test_figures_equal_those_of_torchmetrics(prediction, truth):
    if (truth == VOID).all():
        return
    matrix = confusion(prediction, truth)
    pair = torch.from_numpy(prediction).long(), torch.from_numpy(truth).long()
    macro, weighted = (
        100 * MulticlassJaccardIndex(3, average=average, ignore_index=VOID)(*pair) for average in ("macro", "weighted")
    )
    accuracy = 100 * MulticlassAccuracy(3, average="micro", ignore_index=VOID)(*pair)
    assert matrix.mIoU_mmseg() == pytest.approx(macro.item(), rel=1e-5)
    assert matrix.WIoU() == pytest.approx(weighted.item(), rel=1e-5)
    assert matrix.pixel_accuracy() == pytest.approx(accuracy.item(), rel=1e-5)


def clip(*frames) -> np.ndarray:
    return np.array(frames, np.uint8)[:, None]


def consistency(clips, window) -> np.ndarray:
    total = np.zeros((1, 5))
    for predictions, truths in clips:
        video = VideoConsistency([window], VOID)
        for prediction, truth in zip(predictions, truths, strict=True):
            total += video.update(prediction, truth)
    return total[0]


def test_video_consistency_by_hand():
    truth = clip([0, 1, 1, 255], [0, 1, 0, 1], [0, 1, 0, 1])
    prediction = clip([0, 2, 1, 1], [0, 2, 1, 1], [1, 2, 0, 1])
    # Window 0-1: steady truth in pixels 0 and 1; the prediction is steady in both, right in pixel 0.
    # Window 1-2: steady truth in all four; the prediction is steady in pixels 1 and 3, right in pixel 3.
    sums = consistency([(prediction, truth)], 2)
    assert sums[0] == 2
    assert mVC(sums) == pytest.approx(100 * (1.0 + 0.5) / 2)
    assert mVC_strict(sums) == pytest.approx(100 * (0.5 + 0.25) / 2)
    assert mVC_vspw_script(sums) == pytest.approx(100.0), "the last window is left out"


def test_the_script_takes_unlabelled_pixels_for_steady_ones():
    truth = clip([0, 255], [0, 255], [0, 255])
    prediction = clip([0, 1], [0, 2], [0, 2])
    sums = consistency([(prediction, truth)], 2)
    assert mVC(sums) == 100
    assert mVC_vspw_script(sums) == 50


def test_the_script_passes_over_clips_of_one_window():
    short = clip([0], [0]), clip([0], [0])
    assert mVC(consistency([short], 2)) == 100
    assert np.isnan(mVC_vspw_script(consistency([short], 2)))


def test_a_constant_map_is_consistent_but_not_strictly():
    truth = clip([0, 1], [0, 1])
    sums = consistency([(np.zeros_like(truth), truth)], 2)
    assert (mVC(sums), mVC_strict(sums)) == (100, 50)


def test_the_last_window_counts_and_clips_are_pooled():
    steady = clip([0], [0], [0])
    flicker = clip([0], [1])
    pooled = consistency([(steady, steady), (flicker, clip([0], [0]))], 2)
    assert pooled[0] == 3
    assert mVC(pooled) == pytest.approx(100 * 2 / 3)
    assert consistency([(steady, steady)], 3)[0] == 1


def test_windows_without_a_steady_pixel_are_skipped():
    sums = consistency([(clip([0], [0], [0]), clip([0], [1], [1]))], 2)
    assert sums[0] == 1
    assert mVC(sums) == 100
    assert np.isnan(mVC(consistency([(clip([0], [0]), clip([255], [255]))], 2))), "all unlabelled"


def test_clips_shorter_than_the_window_give_nothing():
    sums = consistency([(clip([0]), clip([0]))], 2)
    assert sums[0] == 0
    assert np.isnan([mVC(sums), mVC_strict(sums), mVC_vspw_script(sums)]).all()


def test_wrong_sequences_are_refused():
    with pytest.raises(ConfigError, match="1 frames"):
        VideoConsistency([1], VOID)
    video = VideoConsistency([2], VOID)
    video.update(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(InputError, match="one size"):
        video.update(np.zeros((3, 3)), np.zeros((3, 3)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6).flatmap(lambda t: st.tuples(label_maps(t), label_maps(t, ids=(0, VOID)))), max_size=3)
)
def test_consistency_equals_a_naive_search(clips):
    window = 3
    exact, strict, script = [], [], []
    for predictions, truths in clips:
        for start in range(len(truths) - window + 1):
            truth, prediction = truths[start : start + window], predictions[start : start + window]
            same_truth = np.all(truth == truth[0], axis=0)
            same = np.all(prediction == prediction[0], axis=0)
            within = same_truth & (truth[0] != VOID)
            if within.any():
                exact.append(same[within].mean())
                strict.append((same & (prediction[0] == truth[0]))[within].mean())
            if same_truth.any() and start < len(truths) - window:
                script.append(same[same_truth].mean())
    sums = consistency(clips, window)
    assert sums[[0, 3]].tolist() == [len(exact), len(script)]
    assert sums[[1, 2, 4]].tolist() == pytest.approx([sum(exact), sum(strict), sum(script)])
