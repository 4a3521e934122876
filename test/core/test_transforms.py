import cv2
import numpy as np
import pytest
from fake_camvid import write_camvid
from fake_data_sets import write_cityscapes, write_folder, write_image

from sdcpc_core.data.clips import SampleKey, SampleStream, TrainingClips
from sdcpc_core.data.dataset import DataSet
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.data.transforms import (
    MEAN_RGB,
    mirror,
    random_crop_matrix,
    random_degradation,
    random_ego_motion,
    random_photometry,
    scaling,
    translation,
    warp_image,
    warp_label_map,
)
from sdcpc_core.errors import ConfigError, InputError


def stripes(size_hw=(60, 80)) -> np.ndarray:
    """Labels 0, 5 and 10 in stripes: interpolation would make others of them."""
    return np.tile((np.arange(size_hw[1]) // 7 % 3 * 5).astype(np.uint8), (size_hw[0], 1))


def test_labels_are_never_interpolated():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = random_crop_matrix(rng, stripes(), (32, 64), (0.5, 2.0)) @ random_ego_motion(rng, (60, 80))[0]
        assert set(np.unique(warp_label_map(stripes(), matrix, (32, 64)))) <= {0, 5, 10, 255}


def test_outside_is_unlabelled_and_of_the_mean_colour():
    away = translation(10, 0)
    assert (warp_label_map(stripes(), away, (60, 80))[:, :10] == 255).all()
    image = np.full((60, 80, 3), 200, np.uint8)
    assert (warp_image(image, away, (60, 80))[:, :10] == MEAN_RGB).all()


def test_mirror_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    assert (warp_image(image, mirror(10), (8, 10)) == image[:, ::-1]).all()


def test_scaling_keeps_the_borders():
    # Halving averages pixel pairs: the centre of output pixel 0 lies between input pixels 0 and 1.
    image = np.repeat(np.repeat(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], 6, axis=0), 3, axis=2)
    assert (warp_image(image, scaling(0.5), (3, 5))[:, :, 0] == [10, 50, 90, 130, 170]).all()


def test_a_crop_of_one_class_is_drawn_again():
    # Class 1 fills the left three quarters; a quarter-size crop anywhere there would be nothing else.
    label_map = np.zeros((128, 512), np.uint8)
    label_map[:, :384] = 1
    shares = []
    for seed in range(40):
        matrix = random_crop_matrix(np.random.default_rng(seed), label_map, (64, 128), (1.0, 1.0))
        crop = warp_label_map(label_map, matrix, (64, 128))
        shares.append(max((crop == 0).mean(), (crop == 1).mean()))
    assert np.mean(np.array(shares) <= 0.75) > 0.7


def test_ego_motion_is_smooth_and_centred():
    for seed in range(20):
        past, middle, last = random_ego_motion(np.random.default_rng(seed), (360, 480))
        np.testing.assert_allclose(middle, np.eye(3), atol=1e-12)
        corner = np.array([100.0, 100.0, 1.0])
        there, here = (m @ corner / (m @ corner)[2] - corner for m in (past, last))
        assert np.abs(there + here).max() < 8, "t-3 is halfway between t-6 and t"
        assert np.abs(here).max() < 80


def test_photometry_changes_all_images_alike_and_keeps_type():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    one, other = random_photometry(np.random.default_rng(1), [image, image])
    assert one.dtype == np.uint8
    assert (one == other).all()
    assert (one != image).any()


def test_photometry_of_strength_zero_keeps_grey():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    (same,) = random_photometry(np.random.default_rng(1), [grey], strength=0.0)
    assert (same == grey).all()


@pytest.mark.parametrize("seed", range(6))
def test_degradations_leave_the_input_alone(seed):
    image = np.full((40, 60, 3), 100, np.uint8)
    image[10:20, 10:30] = 200
    before = image.copy()
    degraded = random_degradation(np.random.default_rng(seed), image)
    assert (image == before).all()
    assert (degraded.shape, degraded.dtype) == (image.shape, np.uint8)
    assert (degraded != image).any()


@pytest.fixture(scope="module")
def camvid(tmp_path_factory) -> DataSet:
    return open_data_set("camvid", write_camvid(tmp_path_factory.mktemp("camvid")), "train")


def clips(camvid, seed=0, synthetic_fraction=0.0) -> TrainingClips:
    return TrainingClips(
        camvid,
        seed=seed,
        crop_hw=(64, 96),
        scale_range=(0.5, 2.0),
        synthetic_fraction=synthetic_fraction,
        reference_offsets=(3, 6),
    )


def test_a_sample_has_three_labelled_frames(camvid):
    frames, labels = clips(camvid)[SampleKey(0, 0)]
    assert (frames.shape, frames.dtype) == ((3, 3, 64, 96), np.uint8)
    assert (labels.shape, labels.dtype) == ((3, 64, 96), np.uint8)


@pytest.mark.parametrize("synthetic_fraction", [0.0, 1.0])
def test_a_shorter_clip_lacks_the_oldest_frames(camvid, synthetic_fraction):
    whole = clips(camvid, 5, synthetic_fraction)[SampleKey(2, 1)]
    for num_frames in (1, 2):
        frames, labels = clips(camvid, 5, synthetic_fraction)[SampleKey(2, 1, num_frames)]
        assert frames.shape == (num_frames, 3, 64, 96)
        assert (labels == whole.labels[-num_frames:]).all()


@pytest.mark.parametrize("synthetic_fraction", [0.0, 1.0])
def test_draws_are_a_function_of_seed_epoch_and_index(camvid, synthetic_fraction):
    one = clips(camvid, 5, synthetic_fraction)[SampleKey(2, 1)]
    again = clips(camvid, 5, synthetic_fraction)[SampleKey(2, 1)]
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    for seed, epoch, index in ((6, 2, 1), (5, 3, 1), (5, 2, 2)):
        other = clips(camvid, seed, synthetic_fraction)[SampleKey(epoch, index)]
        assert (one.frames != other.frames).any()


def test_geometry_is_shared_by_picture_and_labels(camvid):
    # Sky is bluish and bright, road dark: wherever labels say so, the picture must agree, in all three frames.
    for index in range(4):
        frames, labels = clips(camvid)[SampleKey(1, index)]
        for frame, label_map in zip(frames, labels, strict=True):
            brightness = np.median(frame, axis=0)
            if (label_map == 0).sum() > 50 and (label_map == 3).sum() > 50:
                assert np.median(brightness[label_map == 0]) > np.median(brightness[label_map == 3]) + 20


def test_a_clip_without_a_past_is_what_it_has_always_been(camvid):
    # Weights in use were trained on these draws, in this order.
    rng = np.random.default_rng((5, 2, 1))
    frame = camvid[1]
    assert rng.random() >= 0.0
    motion = random_ego_motion(rng, (64, 96))
    crop = random_crop_matrix(rng, frame.label_map, (64, 96), (0.5, 2.0))
    matrices = [crop @ move for move in motion]
    frames = random_photometry(rng, [warp_image(frame.image, matrix, (64, 96)) for matrix in matrices])
    frames = [random_photometry(rng, [image], strength=0.15)[0] for image in frames]
    frames = [random_degradation(rng, image) if rng.random() < 0.25 else image for image in frames]
    sample = clips(camvid, seed=5)[SampleKey(2, 1)]
    assert (sample.frames == np.stack(frames).transpose(0, 3, 1, 2)).all()
    assert (sample.labels == [warp_label_map(frame.label_map, matrix, (64, 96)) for matrix in matrices]).all()


@pytest.fixture
def without_photometry(monkeypatch):
    monkeypatch.setattr("sdcpc_core.data.clips.random_photometry", lambda rng, images, strength=1.0: list(images))
    monkeypatch.setattr("sdcpc_core.data.clips.random_degradation", lambda rng, image: image)


def write_moving_bar(root, split="train"):
    """A video whose bar, and its label, stand at the number of the frame; every frame is labelled."""
    write_folder(root)
    for index in range(14):
        mask = np.ones((64, 96), np.uint8)
        mask[:, 4 * index : 4 * index + 8] = 2
        cv2.imwrite(str(root / "masks" / split / "hall" / f"frame{index}.png"), mask)
        picture = np.repeat(np.where(mask == 2, 250, 20).astype(np.uint8)[..., None], 3, axis=2)
        (root / "images" / split / "hall" / f"frame{index}.jpg").unlink()
        cv2.imwrite(str(root / "images" / split / "hall" / f"frame{index}.png"), picture)
    return open_data_set("folder", root, split)


def still_clips(data, reference_offsets=(3, 6)) -> TrainingClips:
    return TrainingClips(
        data,
        seed=1,
        crop_hw=(64, 96),
        scale_range=(1.0, 1.0),
        synthetic_fraction=0.0,
        reference_offsets=reference_offsets,
    )


@pytest.mark.parametrize(("offsets", "shifts"), [((3, 6), [12, 12]), ((1, 9), [32, 4])])
def test_a_video_gives_its_own_references(tmp_path, without_photometry, offsets, shifts):
    data = write_moving_bar(tmp_path)
    clip = still_clips(data, offsets)
    position = [record.name for record in data.records].index("hall/frame10")
    frames, labels = clip[SampleKey(0, data.labelled.index(position))]
    starts = [float(np.flatnonzero((label_map == 1).any(axis=0)).mean()) for label_map in labels]
    step = np.diff(starts)
    assert abs(step) == pytest.approx(shifts, abs=1), "four pixels a frame"
    assert len(set(np.sign(step))) == 1, "one crop and flip for all three"
    for frame, label_map in zip(frames, labels, strict=True):
        assert ((frame[0] > 135) == (label_map == 1)).mean() > 0.98, "picture and labels move together"


def test_references_are_clamped_at_the_start(tmp_path, without_photometry):
    data = write_moving_bar(tmp_path)
    clip = still_clips(data)
    position = [record.name for record in data.records].index("hall/frame0")
    frames, labels = clip[SampleKey(0, data.labelled.index(position))]
    assert (frames == frames[0]).all()
    assert (labels == labels[0]).all()


def test_labels_of_references_may_be_missing(tmp_path):
    data = open_data_set("cityscapes", write_cityscapes(tmp_path), "train")
    clip = still_clips(data)
    assert len(clip) == 1
    _, labels = clip[SampleKey(0, 0)]
    assert (labels[:2] == 255).all()
    assert set(np.unique(labels[2])) <= {0, 13, 18, 255}


def test_frames_of_two_sizes_make_no_clip(tmp_path):
    write_cityscapes(tmp_path)
    write_image(tmp_path / "leftImg8bit_sequence/train/aachen/aachen_000003_000016_leftImg8bit.png", size_hw=(32, 48))
    data = open_data_set("cityscapes", tmp_path, "train")
    clip = still_clips(data)
    with pytest.raises(InputError, match=r"000016_leftImg8bit\.png is 48x32"):
        clip[SampleKey(0, 0)]


def test_label_maps_of_two_bytes_are_unlabelled_outside():
    label_map = np.full((20, 30), 300, np.uint16)
    assert set(np.unique(warp_label_map(label_map, translation(5, 0), (20, 30)))) == {300, 65535}


def test_rounds_cut_one_endless_stream():
    long, short = SampleStream(10, 30, seed=3), SampleStream(10, 6, seed=3, batch_size=2)
    rounds = []
    for index in range(5):
        short.set_epoch(index)
        rounds += list(short)
    assert rounds == list(long)
    assert sorted(key.index for key in rounds[10:20]) == list(range(10)), "each epoch sees every frame once"
    assert {key.epoch for key in rounds[10:20]} == {1}
    assert [key.index for key in rounds[:10]] != [key.index for key in rounds[10:20]]


def test_processes_share_the_batches_of_one():
    shares = []
    for rank in range(3):
        share = SampleStream(10, 4, seed=3, batch_size=2, rank=rank, num_processes=3)
        share.set_epoch(1)
        shares.append(list(share))
    whole = SampleStream(10, 12, seed=3, batch_size=6)
    whole.set_epoch(1)
    assert [key for batch in (0, 2) for share in shares for key in share[batch : batch + 2]] == list(whole)


def test_a_round_asks_once_how_long_its_clips_are():
    lengths = iter([1, 3])
    rounds = SampleStream(10, 4, seed=3, clip_length=lambda: next(lengths))
    assert [{key.num_frames for key in rounds} for _ in range(2)] == [{1}, {3}]


def test_a_drive_too_short_for_the_references_is_told(camvid):
    with pytest.raises(ConfigError, match=r"data\.reference_offsets is \[3, 150\]"):
        TrainingClips(
            camvid, seed=0, crop_hw=(64, 96), scale_range=(1, 1), synthetic_fraction=0.5, reference_offsets=(3, 150)
        )
