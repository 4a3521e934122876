"""What a stream does before its next frame is there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_frames import moving_frames, wake_alignment

from sdcpc_core import CAMVID, InputError, Segmenter, StreamFrame, build_model
from sdcpc_core.reference_cache import CachedFrame, ReadyReferences
from sdcpc_core.stream_state import ResetReason, StreamState

PERIOD_NS = 66_666_667  # 15 Hz


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return Segmenter(wake_alignment(build_model("sdcpc_mit_b0", 11)), CAMVID, device="cpu")


@pytest.fixture
def alignments(segmenter, monkeypatch):
    """The batch size of each alignment of references, as it is done."""
    done = []
    original = segmenter.model.align_references

    def spy(references):
        done.append(len(references[0].static))
        return original(references)

    monkeypatch.setattr(segmenter.model, "align_references", spy)
    return done


def test_a_prepared_stream_says_what_an_unprepared_one_does(segmenter, spied_logits, alignments):
    # Seven regular frames, one that was lost, a gap, a jump back and another size.
    ticks = [1, 2, 3, 4, 5, 6, 7, 9, 60, 61, 62, 20, 21, 22, 23]
    sizes = [(64, 96)] * 13 + [(72, 64)] * 2
    right = [False, True, True, True, True, True, True, False, False, True, True, False, True, False, True]
    plain, prepared = segmenter.stream(), segmenter.stream()
    prepared.prepare()
    assert alignments == [], "before its first frame a stream has nothing to prepare"
    resets = []
    for tick, size_hw, ahead in zip(ticks, sizes, right, strict=True):
        frame = moving_frames(1, size_hw, seed=tick)[0]
        plain.state.ready = ReadyReferences()
        plain.step(frame, tick * PERIOD_NS)
        alignments.clear()
        result = prepared.step(frame, tick * PERIOD_NS)
        assert torch.equal(*spied_logits[-2:])
        assert alignments == ([] if ahead else [1])
        resets.append(result.reset)
        prepared.prepare()
        count = len(alignments)
        prepared.prepare()
        assert len(alignments) == count, "what is ready is not done again"
    assert [r for r in resets if r] == [ResetReason.GAP, ResetReason.JUMP_BACK, ResetReason.SIZE]
    prepared.reset()
    plain.reset()
    for stream in (plain, prepared):
        assert stream.step(frame, PERIOD_NS).reference_ages_s == (0.0, 0.0)
    assert torch.equal(*spied_logits[-2:])


def test_cameras_are_prepared_together(segmenter, spied_logits, alignments):
    cameras = [moving_frames(5, size, seed) for seed, size in enumerate([(64, 96), (64, 96), (72, 64)])]
    plain, prepared = ([segmenter.stream() for _ in cameras] for _ in range(2))
    for i in range(5):
        for streams in (plain, prepared):
            alignments.clear()
            frames = [StreamFrame(s, c[i], (i + 1) * PERIOD_NS) for s, c in zip(streams, cameras, strict=True)]
            segmenter.step_batch(frames)
            if streams is prepared and i:
                assert alignments == []
        for one, other in zip(spied_logits[-4:-2], spied_logits[-2:], strict=True):
            assert torch.equal(one, other)
        for stream in plain:
            stream.state.ready = ReadyReferences()
        alignments.clear()
        segmenter.prepare(prepared)
        assert alignments == ([2, 1] if i > 2 else []), "until then the first frame is all the references"


def test_references_that_stay_the_same_are_aligned_once(segmenter, spied_logits, alignments):
    fast, forgetful = segmenter.stream(), segmenter.stream()
    of_fast = 0
    for i, frame in enumerate(moving_frames(60, (32, 32))):
        stamp_ns = (i + 1) * PERIOD_NS // 8
        forgetful.state.ready = ReadyReferences()
        forgetful.step(frame, stamp_ns)
        alignments.clear()
        fast.step(frame, stamp_ns)
        of_fast += len(alignments)
        assert torch.equal(*spied_logits[-2:])
    assert 5 < of_fast < 25


def test_a_model_without_references_has_nothing_to_prepare():
    segmenter = Segmenter(build_model("segformer_mit_b0", 11), CAMVID, device="cpu")
    stream = segmenter.stream()
    for i, frame in enumerate(moving_frames(2, (32, 32))):
        stream.step(frame, i + 1)
        stream.prepare()
    assert stream.state.ready == ReadyReferences()


def test_a_frame_that_is_its_own_reference_has_nothing_to_prepare(segmenter, alignments):
    stream = segmenter.stream(reference_offsets=())
    stream.step(moving_frames(1, (32, 32))[0], 1)
    alignments.clear()
    stream.prepare()
    assert alignments == []


def test_only_own_streams_are_prepared(segmenter):
    foreign = Segmenter(segmenter.model, CAMVID, device="cpu").stream()
    with pytest.raises(InputError, match="another segmenter"):
        segmenter.prepare([segmenter.stream(), foreign])


@given(rate_hz=st.floats(1, 240), ages_s=st.lists(st.floats(0.05, 2.0), min_size=1, max_size=3), by_age=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_steady_stream_expects_what_its_next_frame_chooses(rate_hz, ages_s, by_age):
    state = StreamState(ages_s, reference_offsets=None if by_age else (1, 3))
    frame = np.zeros((32, 32, 3), np.uint8)
    period_ns = round(1e9 / rate_hz)
    for i in range(40):
        expected = state.expected_references()
        arrival = state.receive(frame, 1 + i * period_ns, "", None)
        chosen = state.accept(arrival)
        if i != 1:  # from one frame no period can be told, but there is nothing to choose either
            assert [f.stamp_ns for f in expected] == [f.stamp_ns for f in chosen]
        state.remember(arrival, CachedFrame(arrival.stamp_ns, ()))
