"""Recordings without a GPU: what stands in for a CUDA graph runs the function on the static buffers."""

import logging

import pytest
import torch
from moving_frames import moving_frames, wake_alignment
from torch.utils._pytree import tree_leaves, tree_map

from sdcpc_core import CAMVID, Segmenter, StreamFrame, build_model
from sdcpc_core.cuda_graph import RecordedCalls, Recording

PERIOD_NS = 66_666_667  # 15 Hz


class EagerRecorder:
    """Records functions for the CPU, with the pitfalls of graphs.

    A replay spoils what other recordings answered, as graphs of one memory pool may, and reads and writes nothing but
    the buffers of its recording.
    """

    def __init__(self):
        self.recordings = []

    def __call__(self, function, inputs):
        buffers = tree_map(torch.clone, inputs)
        outputs = function(*buffers)

        def replay():
            for other in self.recordings:
                for leaf in tree_leaves(other.outputs):
                    leaf.fill_(77)
            for leaf, fresh in zip(tree_leaves(outputs), tree_leaves(function(*buffers)), strict=True):
                leaf.copy_(fresh)

        self.recordings.append(Recording(buffers, outputs, replay))
        return self.recordings[-1]


def double(tensor):
    return tensor * 2


def test_a_call_is_the_function():
    recorder = EagerRecorder()
    call = RecordedCalls(recorder)

    def add_and_pair(pair, others):
        return pair[0] + pair[1], [other - pair[0] for other in others]

    for seed in range(3):
        torch.manual_seed(seed)
        pair, others = (torch.randn(2, 3), torch.randn(3)), [torch.randn(3)] * 2
        total, differences = call(add_and_pair, pair, others)
        assert torch.equal(total, pair[0] + pair[1])
        assert all(torch.equal(d, o - pair[0]) for d, o in zip(differences, others, strict=True))
    assert len(recorder.recordings) == 1


def test_answers_and_arguments_belong_to_the_caller():
    call = RecordedCalls(EagerRecorder())
    first, second = torch.ones(2), torch.full((2,), 2.0)
    answers = [call(double, first), call(double, second), call(double, torch.ones(3))]
    assert [answer.tolist() for answer in answers] == [[2, 2], [4, 4], [2, 2, 2]]
    first.zero_()
    assert call(double, second).tolist() == [4, 4]


def test_each_function_shape_and_type_is_recorded_and_the_oldest_is_dropped():
    recorder = EagerRecorder()
    call = RecordedCalls(recorder, capacity=2)
    made = []
    for inputs in (torch.ones(2), torch.ones(3), torch.ones(2), torch.ones(3, dtype=torch.int32), torch.ones(2)):
        call(double, inputs)
        made.append(len(recorder.recordings))
    assert made == [1, 2, 2, 3, 3]
    call(double, torch.ones(3))
    call(torch.negative, torch.ones(3))
    assert len(recorder.recordings) == 5


def test_where_recording_fails_functions_are_called_as_they_are(caplog):
    attempts = []

    def record(function, inputs):
        attempts.append(function)
        raise RuntimeError("operation not permitted when stream is capturing")

    call = RecordedCalls(record)
    with caplog.at_level(logging.WARNING):
        assert [call(double, torch.ones(n)).sum().item() for n in (1, 1, 2)] == [2, 2, 4]
    assert len(attempts) == len(caplog.records) == 1
    assert "not permitted" in caplog.text


@pytest.mark.parametrize(
    ("name", "precision"), [("sdcpc_mit_b0", "fp32"), ("sdcpc_mit_b0", "bf16"), ("segformer_mit_b0", "fp32")]
)
def test_streaming_from_static_buffers_changes_nothing(spied_logits, name, precision):
    cameras = [moving_frames(6, size, seed) for seed, size in enumerate([(64, 96), (64, 96), (72, 64)])]
    recorder = EagerRecorder()
    runs = []
    for recorded in (False, True):
        torch.manual_seed(0)
        model = wake_alignment(build_model(name, 11))
        segmenter = Segmenter(model, CAMVID, (48, 64), device="cpu", precision=precision)
        if recorded:
            segmenter._placed._call = RecordedCalls(recorder)
        streams = [segmenter.stream() for _ in cameras]
        answers = []
        for i in range(6):
            # The third camera is late, and the second forgets its past in between.
            batch = [StreamFrame(s, c[i], (i + 1) * PERIOD_NS) for s, c in zip(streams, cameras, strict=True)]
            answers += segmenter.step_batch(batch if i % 2 else batch[:2], with_confidence=i == 3)
            if i == 2:
                streams[1].reset()
            segmenter.prepare(streams[: i + 1])
        runs.append((list(spied_logits), [(a.label_map, a.confidence, a.reference_ages_s) for a in answers]))
        spied_logits.clear()
    assert recorder.recordings
    (plain_logits, plain), (recorded_logits, recorded) = runs
    for one, other in zip(plain_logits, recorded_logits, strict=True):
        assert torch.equal(one, other)
    for (labels, confidence, ages_s), expected in zip(recorded, plain, strict=True):
        assert (labels == expected[0]).all()
        assert ages_s == expected[2]
        assert (confidence is None) == (expected[1] is None)
        assert confidence is None or (confidence == expected[1]).all()
