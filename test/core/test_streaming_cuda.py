"""Streaming on a CUDA device: against the CPU, and graphs against the same work without them."""

import numpy as np
import pytest
import torch
from moving_frames import moving_frames, wake_alignment

from sdcpc_core import CAMVID, Segmenter, StreamFrame, build_model
from sdcpc_core.cuda_graph import CudaGraphRecorder, RecordedCalls
from sdcpc_core.reference_cache import ReadyReferences

PERIOD_NS = 66_666_667  # 15 Hz
SIZES = [(64, 96), (64, 96), (72, 64)]
MODELS = [
    ("sdcpc_mit_b0", {}),
    ("sdcpc_resnet18", {}),
    ("sdcpc_mit_b0", {"fine_stage": False}),
    ("segformer_mit_b0", {}),
]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(autouse=True)
def _whole_float32(monkeypatch):
    """Convolutions on CUDA round float32 to 10 bits of mantissa unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def awake(name="sdcpc_mit_b0", options=()):
    torch.manual_seed(0)
    return wake_alignment(build_model(name, 11, **dict(options)))


def drive(segmenter, *, prepare=False, forget=False):
    """Eight frames of three cameras, which miss some and start anew once."""
    streams = [segmenter.stream() for _ in SIZES]
    cameras = [moving_frames(8, size, seed) for seed, size in enumerate(SIZES)]
    results = []
    for i in range(8):
        if forget:
            for stream in streams:
                stream.state.ready = ReadyReferences()
        there = range(3) if i % 3 else range(2)
        batch = [StreamFrame(streams[c], cameras[c][i], (i + 1) * PERIOD_NS) for c in there]
        results += segmenter.step_batch(batch, with_confidence=i == 4)
        if i == 5:
            streams[0].reset()
        if prepare:
            segmenter.prepare(streams)
    return results


@pytest.mark.parametrize("cuda_graphs", [True, False])
@pytest.mark.parametrize("working_size_hw", [None, (48, 80)])
@pytest.mark.parametrize(("name", "options"), MODELS)
def test_cuda_agrees_with_the_cpu(spied_logits, name, options, working_size_hw, cuda_graphs):
    exact = drive(Segmenter(awake(name, options), CAMVID, working_size_hw, device="cpu"))
    exact_logits = list(spied_logits)
    spied_logits.clear()
    segmenter = Segmenter(awake(name, options), CAMVID, working_size_hw, device="cuda", cuda_graphs=cuda_graphs)
    answers = drive(segmenter)
    # The CPU resizes bytes to bytes.
    tolerance = 1e-3 if working_size_hw is None else 2e-2
    for logits, expected in zip(spied_logits, exact_logits, strict=True):
        torch.testing.assert_close(logits.cpu(), expected, atol=tolerance, rtol=tolerance)
    for answer, expected in zip(answers, exact, strict=True):
        assert (answer.label_map != expected.label_map).mean() < 0.02, "but at ties"
        assert answer.reference_ages_s == expected.reference_ages_s
        assert (answer.confidence is None) == (expected.confidence is None)
        if answer.confidence is not None and working_size_hw is None:
            assert np.abs(answer.confidence.astype(int) - expected.confidence).max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_graphs_change_nothing(spied_logits, precision):
    for cuda_graphs in (False, True):
        drive(Segmenter(awake(), CAMVID, device="cuda", precision=precision, cuda_graphs=cuda_graphs))
    half = len(spied_logits) // 2
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    for eager, graph in zip(spied_logits[:half], spied_logits[half:], strict=True):
        torch.testing.assert_close(graph, eager, atol=tolerance, rtol=tolerance)


def test_references_prepared_ahead_change_nothing(spied_logits):
    segmenter = Segmenter(awake(), CAMVID, device="cuda")
    drive(segmenter, forget=True)
    plain = list(spied_logits)
    spied_logits.clear()
    drive(segmenter, prepare=True)
    for prepared, expected in zip(spied_logits, plain, strict=True):
        torch.testing.assert_close(prepared, expected, atol=1e-5, rtol=1e-5)


def test_a_drive_again_is_the_same_drive(spied_logits):
    # What one step leaves in the shared buffers must not reach another.
    segmenter = Segmenter(awake(), CAMVID, device="cuda")
    drive(segmenter)
    first = list(spied_logits)
    spied_logits.clear()
    drive(segmenter)
    for again, before in zip(spied_logits, first, strict=True):
        torch.testing.assert_close(again, before, atol=1e-5, rtol=1e-5)


def test_after_warm_up_a_step_records_nothing_and_waits_for_nothing_but_its_result():
    segmenter = Segmenter(awake(), CAMVID, (48, 80), device="cuda")
    segmenter.warm_up((64, 96), num_streams=2)
    recorded = dict(segmenter._placed._call._recordings)
    streams = [segmenter.stream() for _ in range(2)]
    frames = moving_frames(8, (64, 96))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i, frame in enumerate(frames):
            stamp_ns = (i + 1) * PERIOD_NS
            segmenter.step_batch([StreamFrame(s, frame, stamp_ns) for s in streams], with_confidence=i % 2 > 0)
            segmenter.prepare(streams)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    recordings = segmenter._placed._call._recordings
    assert recordings.keys() == recorded.keys()
    assert all(recordings[key] is recorded[key] for key in recorded)


def test_memory_stays_flat():
    segmenter = Segmenter(awake(), CAMVID, device="cuda")
    stream = segmenter.stream()
    frames = moving_frames(10, (64, 96))
    held = []
    for i in range(1000):
        stream.step(frames[i % 10], (i + 1) * PERIOD_NS)
        stream.prepare()
        if i in (50, 999):
            torch.cuda.synchronize()
            held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert held[0] == held[1]


def test_timings_add_up_and_prepared_references_take_no_time():
    segmenter = Segmenter(awake("sdcpc_mit_b0"), CAMVID, device="cuda")
    stream, late = segmenter.stream(), segmenter.stream()
    for i, frame in enumerate(moving_frames(30, (480, 640))):
        late.state.ready = ReadyReferences()
        unprepared = late.step(frame, (i + 1) * PERIOD_NS).timings
        timings = stream.step(frame, (i + 1) * PERIOD_NS).timings
        stream.prepare()
        torch.cuda.synchronize()
    phases_ms = (timings.upload_ms, timings.encode_ms, timings.references_ms, timings.align_ms, timings.decode_ms)
    assert all(phase_ms >= 0 for phase_ms in phases_ms)
    # The host begins before the device does, and hears of its end after it.
    assert sum(phases_ms) <= timings.total_ms + 0.1
    assert timings.references_ms < unprepared.references_ms


def test_what_a_graph_cannot_hold_runs_without(caplog):
    call = RecordedCalls(CudaGraphRecorder(torch.device("cuda")))
    stream = torch.cuda.current_stream()

    def positive_ones(tensor):
        return tensor[tensor > 0]  # as many as there are, which the host has to wait for

    numbers = torch.tensor([-1.0, 2.0, 3.0], device="cuda")
    for _ in range(2):
        assert call(positive_ones, numbers).tolist() == [2, 3]
    assert len(caplog.records) == 1
    assert torch.cuda.current_stream() == stream
    assert call(torch.negative, numbers).tolist() == [1, -2, -3]
    # Nor does it keep others from having graphs of their own.
    other = RecordedCalls(CudaGraphRecorder(torch.device("cuda")))
    assert other(torch.negative, numbers).tolist() == [1, -2, -3]
    assert len(caplog.records) == 1


def test_recordings_share_memory_and_keep_their_answers():
    call = RecordedCalls(CudaGraphRecorder(torch.device("cuda")), capacity=3)

    def smooth(image):
        return torch.nn.functional.avg_pool2d(image * 2 + 1, 3, 1, 1) - image

    images = [torch.randn(1, 3, side, side, device="cuda") for side in (64, 96, 128, 160, 64)]
    for _ in range(2):
        answers = [call(smooth, image) for image in images]
        for answer, image in zip(answers, images, strict=True):
            torch.testing.assert_close(answer, smooth(image))
