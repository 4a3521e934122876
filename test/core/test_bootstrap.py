import numpy as np
import pytest

from sdcpc_core.errors import InputError
from sdcpc_core.metrics.bootstrap import differences
from sdcpc_core.metrics.scores import BLOCK_FRAMES, Scorer, Scores, figures


def scored(label_maps, truths, sequences=None, *, with_flow=True) -> Scores:
    scorer = Scorer(3, 255, with_windows=True, with_flow=with_flow)
    for index, (label_map, truth) in enumerate(zip(label_maps, truths, strict=True)):
        image = np.repeat(np.uint8(80 * truth)[..., None], 3, axis=-1)
        scorer.update(image, label_map, truth, sequences[index] if sequences else "0001TP")
    return scorer.scores()


@pytest.fixture(scope="module")
def video():
    rng = np.random.default_rng(0)
    truths = np.repeat(rng.integers(0, 3, (4, 16, 24), np.uint8), 20, axis=0)
    noisy, noisier = (np.where(rng.random(truths.shape) < share, 2, truths) for share in (0.1, 0.2))
    return truths, noisy.astype(np.uint8), noisier.astype(np.uint8)


def test_blocks_add_up_to_the_split(video):
    truths, noisy, _ = video
    scores = scored(noisy, truths)
    assert len(scores.blocks["labels"]) == -(-len(truths) // BLOCK_FRAMES)
    assert scores.blocks["labels"][:, 1].sum() == truths.size
    assert scores.blocks["windows"][..., 0].sum(axis=0).tolist() == [len(truths) - 7, len(truths) - 15]
    assert scores.figures()["pixel_accuracy"] == pytest.approx(100 * (noisy == truths).mean())


def test_a_block_holds_frames_of_one_sequence(video):
    truths = video[0][:20]
    scores = scored(truths, truths, sequences=["a"] * 3 + ["b"] * 17)
    assert scores.blocks["labels"][:, 1].sum(axis=-1).tolist() == [frames * 384 for frames in (3, 16, 1)]
    assert scores.blocks["windows"][:, 0, 0].sum() == 10, "no window reaches over the cut"


def test_frames_without_ground_truth_open_no_block(video):
    truths, noisy, noisier = (maps[:36] for maps in video)
    between = truths.repeat(2, axis=0)
    between[::2] = 255
    among = scored(noisy.repeat(2, axis=0), between, with_flow=False)
    alone = scored(noisier, truths, with_flow=False)
    assert len(among.blocks["labels"]) == len(alone.blocks["labels"]) == 3
    assert differences(alone, among)["mIoU"].value < 0


def test_figures_without_a_video_are_those_of_frames(video):
    truths, noisy, _ = video
    scorer = Scorer(3, 255, with_windows=False, with_flow=False)
    scorer.update(np.zeros((16, 24, 3), np.uint8), noisy[0], truths[0], "a")
    assert list(scorer.scores().figures()) == ["mIoU", "mIoU_mmseg", "WIoU", "pixel_accuracy"]
    assert np.isnan(scorer.scores().compared())
    assert "TC" not in scored(noisy[:2], truths[:2], with_flow=False).figures()


def test_the_pooled_figure_is_the_mean_over_windows_of_both_lengths(video):
    truths, noisy, _ = video
    scores = scored(noisy, truths, with_flow=False)
    shown, windows = scores.figures(), [len(truths) - 8, len(truths) - 16]
    both = np.average([shown["mVC8_vspw_script"], shown["mVC16_vspw_script"]], weights=windows)
    assert shown["mVC16_dvis_script"] == pytest.approx(both)


def test_an_evaluation_does_not_differ_from_itself(video):
    truths, noisy, _ = video
    gains = differences(scored(noisy, truths), scored(noisy, truths))
    assert {"mIoU", "mVC8", "mVC16_strict", "TC"} <= gains.keys()
    assert all((gain.value, gain.low, gain.high) == (0, 0, 0) for gain in gains.values())


def test_a_clear_difference_is_told_from_none(video):
    truths, noisy, noisier = video
    better, worse = scored(noisy, truths, with_flow=False), scored(noisier, truths, with_flow=False)
    gain = differences(better, worse)["mIoU"]
    assert 0 < gain.low < gain.value < gain.high
    assert gain.value == pytest.approx(better.figures()["mIoU"] - worse.figures()["mIoU"])
    back = differences(worse, better)["mIoU"]
    assert (back.low, back.high) == pytest.approx((-gain.high, -gain.low))
    assert differences(better, worse, seed=0) == differences(better, worse)
    few = [differences(better, worse, seed=seed, resamples=20)["mIoU"] for seed in (1, 2)]
    assert few[0] != few[1]
    narrow = differences(better, worse, confidence=0.5)["mIoU"]
    assert gain.low < narrow.low < narrow.high < gain.high


def test_the_interval_equals_a_naive_resampling(video):
    truths, noisy, noisier = video
    pair = [scored(maps, truths, with_flow=False) for maps in (noisy, noisier)]
    blocks = len(pair[0].blocks["labels"])
    drawn = np.random.default_rng(5).multinomial(blocks, np.full(blocks, 1 / blocks), size=50)
    naive = []
    for counts in drawn:
        indices = np.repeat(np.arange(blocks), counts)
        mIoU = [figures({name: b[indices].sum(axis=0) for name, b in s.blocks.items()})["mVC8"] for s in pair]
        naive.append(mIoU[0] - mIoU[1])
    gain = differences(*pair, resamples=50, seed=5)["mVC8"]
    assert (gain.low, gain.high) == pytest.approx(tuple(np.percentile(naive, [2.5, 97.5])))


def test_one_block_has_no_interval_and_no_window_no_difference(video):
    truths, noisy, noisier = (maps[:4] for maps in video)
    gains = differences(scored(noisy, truths), scored(noisier, truths))
    assert gains["mIoU"].value > 0
    assert np.isnan(gains["mIoU"].low)
    assert np.isnan(gains["mVC8"].value)


def test_other_frames_are_refused(video):
    truths, noisy, _ = video
    with pytest.raises(InputError, match="same frames"):
        differences(scored(noisy, truths), scored(noisy[:40], truths[:40]))


def test_sums_survive_a_file(video, tmp_path):
    truths, noisy, _ = video
    scores = scored(noisy, truths)
    np.savez_compressed(tmp_path / "blocks.npz", **scores.blocks)
    assert Scores(dict(np.load(tmp_path / "blocks.npz"))).figures() == scores.figures()
