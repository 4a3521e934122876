import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_frames import moving_frames, wake_alignment

from sdcpc_core import CAMVID, ConfigError, InputError, Segmenter, StreamFrame, build_model
from sdcpc_core.reference_cache import CachedFrame, NearestAgeCache
from sdcpc_core.stream_state import ResetReason

PERIOD_NS = 66_666_667  # 15 Hz


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return Segmenter(wake_alignment(build_model("sdcpc_mit_b0", 11)), CAMVID, device="cpu")


def clip_of(*frames):
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None]


@pytest.mark.parametrize("by_age", [True, False])
def test_streaming_equals_the_clip(segmenter, spied_logits, by_age):
    frames = moving_frames(20, (97, 130))
    stream = segmenter.stream(reference_offsets=None if by_age else (3, 6))
    for i, frame in enumerate(frames):
        result = stream.step(frame, (i + 1) * PERIOD_NS)
        with torch.inference_mode():
            logits = segmenter.model(clip_of(frames[max(i - 6, 0)], frames[max(i - 3, 0)], frame))
            swapped = segmenter.model(clip_of(frames[max(i - 3, 0)], frames[max(i - 6, 0)], frame))
        assert (spied_logits[-1] - logits).abs().max() < 1e-4
        if i > 3:
            assert (swapped - logits).abs().max() > 1e-3
        if i >= 6:
            assert result.reference_ages_s == pytest.approx((0.2, 0.4), abs=1e-6)
    assert stream.counts.frames == 20
    assert stream.counts.resets == {}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sdcpc_mit_b0", {"interleave": "columns", "num_points": 9, "num_variates": 2}),
        ("sdcpc_mit_b0", {"coarse_stage": False}),
        ("sdcpc_mit_b0", {"fine_stage": False, "multi_scale": False}),
        ("sdcpc_resnet50", {}),
    ],
)
def test_every_kind_of_model_streams_as_it_clips(spied_logits, name, options):
    model = wake_alignment(build_model(name, 11, **options))
    stream = Segmenter(model, CAMVID, device="cpu").stream(reference_offsets=(3, 6))
    frames = moving_frames(8, (64, 97))
    for i, frame in enumerate(frames):
        stream.step(frame, (i + 1) * PERIOD_NS)
    with torch.inference_mode():
        assert (spied_logits[-1] - model(clip_of(frames[1], frames[4], frames[7]))).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("segformer_mit_b0", {}),
        ("segformer_resnet18", {"decoder_channels": 32}),
        ("sdcpc_mit_b0", {"coarse_stage": False, "fine_stage": False}),
    ],
)
def test_a_model_without_references_keeps_nothing_of_the_past(spied_logits, name, options):
    segmenter = Segmenter(build_model(name, 11, **options), CAMVID, device="cpu")
    streams = [segmenter.stream(), segmenter.stream(reference_offsets=())]
    for i, frame in enumerate(moving_frames(3, (64, 97))):
        stamped = [StreamFrame(stream, frame, (i + 1) * PERIOD_NS) for stream in streams]
        for result in segmenter.step_batch(stamped):
            assert result.label_map.shape == (64, 97)
            assert result.reference_ages_s == ()
        with torch.inference_mode():
            assert (spied_logits[-1] - segmenter.model(clip_of(frame))).abs().max() < 1e-4
        assert [len(stream.state) for stream in streams] == [0, 0]
    with pytest.raises(ConfigError, match="the model takes 0 references, not"):
        segmenter.stream(reference_offsets=(3, 6))


def test_self_reference_ignores_the_past(segmenter, spied_logits):
    frames = moving_frames(4, (64, 64))
    stream = segmenter.stream(reference_offsets=())
    for i, frame in enumerate(frames):
        assert stream.step(frame, (i + 1) * PERIOD_NS).reference_ages_s == (0.0, 0.0)
        with torch.inference_mode():
            assert (spied_logits[-1] - segmenter.model(clip_of(frame))).abs().max() < 1e-4


def test_a_batch_of_cameras_is_each_camera_alone(segmenter, spied_logits):
    sizes = [(64, 96), (64, 96), (72, 64)]
    cameras = [moving_frames(8, size, seed) for seed, size in enumerate(sizes)]
    alone = []
    for frames in cameras:
        stream = segmenter.stream()
        alone.append([stream.step(f, (i + 1) * PERIOD_NS) for i, f in enumerate(frames)])
    alone_logits = dict(zip([(c, i) for c in range(3) for i in range(8)], list(spied_logits), strict=True))
    spied_logits.clear()
    streams = [segmenter.stream() for _ in cameras]
    for i in range(8):
        results = segmenter.step_batch(
            [StreamFrame(s, frames[i], (i + 1) * PERIOD_NS) for s, frames in zip(streams, cameras, strict=True)]
        )
        pair, single = spied_logits[-2:]
        together = [pair[:1], pair[1:], single]
        for camera, result in enumerate(results):
            assert result.label_map.shape == sizes[camera]
            assert result.reference_ages_s == alone[camera][i].reference_ages_s
            assert (together[camera] - alone_logits[camera, i]).abs().max() < 1e-4


@pytest.mark.parametrize("size_hw", [(480, 640), (1080, 1920), (50, 40), (33, 333)])
def test_any_camera_size_gives_labels_of_that_size(size_hw):
    model = build_model("sdcpc_mit_b0", 11)
    segmenter = Segmenter(model, CAMVID, (64, 96), device="cpu")
    frame = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    result = segmenter.stream().step(frame, 1, with_confidence=True)
    assert result.label_map.shape == result.confidence.shape == size_hw
    assert result.label_map.dtype == result.confidence.dtype == np.uint8
    assert result.label_map.max() < 11
    height, width = segmenter.working_size(size_hw)
    assert min(height, width) >= 32
    if min(height, width) > 32:
        assert height * width == pytest.approx(64 * 96, rel=0.2)
        assert height / width == pytest.approx(size_hw[0] / size_hw[1], rel=0.2)


def test_the_working_size_itself_is_not_resized():
    segmenter = Segmenter(build_model("sdcpc_mit_b0", 11), CAMVID, (65, 99), device="cpu")
    assert segmenter.working_size((65, 99)) == (65, 99)


def test_confidence_only_when_asked_for(segmenter):
    stream = segmenter.stream()
    frame = moving_frames(1, (64, 64))[0]
    assert stream.step(frame, 1).confidence is None
    assert stream.step(frame, 2, with_confidence=True).confidence.min() > 0
    assert stream.step(frame, 3).timings.total_ms > 0


def test_more_than_255_classes_give_two_byte_labels():
    from sdcpc_core import LabelSet

    labels = LabelSet("many", tuple(f"c{i}" for i in range(300)), ((0, 0, 0),) * 300)
    segmenter = Segmenter(build_model("sdcpc_mit_b0", 300), labels, device="cpu")
    assert segmenter.stream().step(moving_frames(1, (32, 32))[0], 1).label_map.dtype == np.uint16


@pytest.mark.parametrize(
    ("stamps_s", "frame_ids", "reason"),
    [
        ([1.0, 1.1, 0.5], ["", "", ""], ResetReason.JUMP_BACK),
        ([1.0, 1.1, 3.2], ["", "", ""], ResetReason.GAP),
        ([1.0, 1.1, 1.2], ["a", "a", "b"], ResetReason.FRAME_ID),
    ],
)
def test_resets(segmenter, caplog, stamps_s, frame_ids, reason):
    stream = segmenter.stream()
    frame = moving_frames(1, (64, 64))[0]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            results = [stream.step(frame, round(s * 1e9), frame_id=i) for s, i in zip(stamps_s, frame_ids, strict=True)]
            stream.reset()
    assert [r.reset for r in results] == [None, None, reason]
    assert results[-1].reference_ages_s == (0.0, 0.0)
    assert stream.counts.resets == {reason: 2, ResetReason.REQUESTED: 2}
    assert sum(reason.value in record.message for record in caplog.records) == 1


def test_a_change_of_size_resets(segmenter):
    stream = segmenter.stream()
    stream.step(moving_frames(1, (64, 64))[0], 1)
    assert stream.step(moving_frames(1, (64, 72))[0], 2).reset is ResetReason.SIZE


def test_a_gap_of_the_users_choice(segmenter):
    frame = moving_frames(1, (64, 64))[0]
    patient = segmenter.stream(max_gap_s=10)
    patient.step(frame, 1_000_000_000)
    assert patient.step(frame, 9_000_000_000).reset is None


def test_zero_and_repeated_stamps_use_the_receive_time(segmenter, caplog):
    frame = moving_frames(1, (64, 64))[0]
    stream = segmenter.stream()
    with caplog.at_level(logging.WARNING):
        stamps = [stream.step(frame, s, receive_ns=r).stamp_ns for s, r in [(0, 500), (0, 700), (None, 900)]]
    assert stamps == [500, 700, 900]
    assert len(caplog.records) == 1
    stream = segmenter.stream()
    stamps = [stream.step(frame, s, receive_ns=r).stamp_ns for s, r in [(10_000, 5), (10_000, 105), (10_200, 210)]]
    assert stamps == [10_000, 10_100, 10_200]
    assert stream.counts.unusable_stamps == 1
    assert stream.counts.resets == {}


def test_a_frozen_stamp_goes_on_with_the_receive_time(segmenter):
    frame = moving_frames(1, (64, 64))[0]
    stream = segmenter.stream()
    results = [stream.step(frame, 10_000, receive_ns=5 + 100 * i) for i in range(6)]
    assert [r.stamp_ns for r in results] == [10_000 + 100 * i for i in range(6)]
    assert stream.counts.resets == {}


def test_a_duplicate_received_late_does_not_make_the_next_stamp_a_jump(segmenter):
    frame = moving_frames(1, (64, 64))[0]
    stream = segmenter.stream()
    times_ms = [(10, 0), (43, 33), (43, 74), (76, 75), (109, 108)]
    results = [stream.step(frame, stamp * 10**6, receive_ns=10**9 + r * 10**6) for stamp, r in times_ms]
    stamps = [r.stamp_ns for r in results]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] == 109 * 10**6
    assert stream.counts.resets == {}


def test_numpy_stamps_are_numbers_and_floats_are_not(segmenter):
    frame = moving_frames(1, (64, 64))[0]
    stream = segmenter.stream()
    ages = [stream.step(frame, np.uint64((i + 1) * PERIOD_NS)).reference_ages_s for i in range(7)]
    assert ages[-1] == pytest.approx((0.2, 0.4), abs=1e-6)
    with pytest.raises(InputError, match=r"stamp_ns is 1\.5"):
        stream.step(frame, 1.5)


def test_a_camera_s_states_do_not_keep_the_others_memory(segmenter):
    streams = [segmenter.stream() for _ in range(4)]
    segmenter.step_batch([StreamFrame(s, f, 1) for s, f in zip(streams, moving_frames(4, (64, 64)), strict=True)])
    cached = streams[0].state.accept(streams[0].state.receive(moving_frames(1, (64, 64))[0], 2, "", None))[0]
    for tensor in cached.state:
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((64, 64), np.uint8), "uint8 RGB array; this one is uint8"),
        (np.zeros((64, 64, 4), np.uint8), r"\(64, 64, 4\)"),
        (np.zeros((64, 64, 3), np.float32), "float32"),
        (np.zeros((20, 64, 3), np.uint8), "20x64 pixels"),
        ("frame.png", "is str"),
    ],
)
def test_a_bad_frame_leaves_the_stream_as_it_was(segmenter, frame, message):
    good = moving_frames(3, (64, 64))
    stream, other = segmenter.stream(), segmenter.stream()
    stream.step(good[0], PERIOD_NS)
    with pytest.raises(InputError, match=message):
        segmenter.step_batch([StreamFrame(other, good[0], 1), StreamFrame(stream, frame, 2 * PERIOD_NS)])
    assert len(other.state) == 0
    result = stream.step(good[1], 2 * PERIOD_NS)
    assert result.reset is None
    assert result.reference_ages_s == pytest.approx((0.0667, 0.0667), abs=1e-3)


def test_a_batch_that_cannot_be_is_refused(segmenter):
    frame = moving_frames(1, (64, 64))[0]
    stream = segmenter.stream()
    with pytest.raises(InputError, match="two frames of one stream"):
        segmenter.step_batch([StreamFrame(stream, frame, 1), StreamFrame(stream, frame, 2)])
    foreign = Segmenter(segmenter.model, CAMVID, device="cpu").stream()
    with pytest.raises(InputError, match="another segmenter"):
        segmenter.step_batch([StreamFrame(foreign, frame, 1)])
    assert segmenter.step_batch([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"device": "tpu9000"}, "device is 'tpu9000'"),
        ({"device": "meta"}, "device is 'meta'"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"working_size_hw": (16, 640)}, "working_size_hw is"),
    ],
)
def test_segmenter_settings_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        Segmenter(build_model("sdcpc_mit_b0", 11), CAMVID, **{"device": "cpu"} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gap_s": 0}, "max_gap_s is 0"),
        ({"reference_ages_s": (0.2,)}, "takes 2 references"),
        ({"reference_ages_s": (0.2, -0.4)}, "positive"),
        ({"reference_offsets": (3, 0)}, "positive"),
        ({"reference_offsets": (3, 6, 9)}, "takes 2 references"),
    ],
)
def test_stream_settings_that_cannot_work(segmenter, options, message):
    with pytest.raises(ConfigError, match=message):
        segmenter.stream(**options)


@given(
    rate_hz=st.floats(0.5, 240),
    jitter=st.floats(0, 0.4, allow_subnormal=False),  # a benchmark before turns those to zero
    ages_s=st.lists(st.floats(0.05, 2.0), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_the_cache_is_bounded_and_its_references_are_near_the_wanted_ages(rate_hz, jitter, ages_s, seed):
    cache = NearestAgeCache(ages_s)
    spacing_s = min(ages_s) / cache.FRAMES_PER_AGE
    rng = np.random.default_rng(seed)
    period_s = 1 / rate_hz
    stamps = [(i + jitter * rng.uniform(-1, 1)) * period_s for i in range(300)]
    for stamp_s in stamps:
        stamp_ns = round(stamp_s * 1e9) + 10**9
        selected = cache.select(stamp_ns)
        if stamp_s > max(ages_s) + 3 * period_s:
            # Kept frames lie at most one spacing plus two jittered periods apart.
            worst_s = (spacing_s + 2 * period_s * (1 + 2 * jitter)) / 2 + period_s * (1 + 2 * jitter)
            for age_s, frame in zip(ages_s, selected, strict=True):
                assert abs((stamp_ns - frame.stamp_ns) / 1e9 - age_s) <= worst_s + 1e-6
        cache.add(CachedFrame(stamp_ns, ()))
        assert len(cache) <= math.ceil(max(ages_s) / spacing_s) + 2


@pytest.mark.timeout(300)
def test_a_stream_s_memory_stays_flat_over_2000_frames(segmenter):
    import gc

    stream = segmenter.stream()
    frames = moving_frames(10, (32, 32))
    kept = []
    for i in range(2000):
        stream.step(frames[i % 10], (i + 1) * PERIOD_NS)
        stream.prepare()
        if i in (100, 1999):
            gc.collect()
            kept.append(sum(o.numel() for o in gc.get_objects() if type(o) is torch.Tensor))
    assert kept[1] == kept[0]
    assert len(stream.state) <= 10
