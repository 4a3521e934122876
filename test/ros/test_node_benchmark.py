"""The script that measures the node: its parts on a small network, one after the other."""

import argparse
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import node

sys.path.remove(str(Path(__file__).resolve().parents[2] / "benchmarks"))

ARGUMENTS = argparse.Namespace(device="cpu", precision="fp32", size=(64, 96))


def test_bare_steps_are_timed_apart_from_what_the_node_does_between_frames(small_checkpoint):
    bare = node.bare_step(small_checkpoint, ARGUMENTS, 4) + node.bare_step(small_checkpoint, ARGUMENTS, 2)
    assert len(bare.step_ms) == len(bare.prepare_ms) == 6
    assert bare.frame_ms == [step + prepare for step, prepare in zip(bare.step_ms, bare.prepare_ms, strict=True)]
    assert min(bare.prepare_ms) > 0


def test_frames_are_counted_by_the_labels_that_carry_their_stamps(own_domain, small_checkpoint, tmp_path):
    log = tmp_path / "node.log"
    with node.cameras_and_node(small_checkpoint, log, ARGUMENTS, ("front/", "rear/")) as cameras:
        cameras.ask(3, pause_s=0.02)
        asked = cameras.count_anew()
        cameras.ask(10, pause_s=0.02)
        in_node_ms = node.latency_parts(cameras)
        assert list(asked.heard_s) == list(asked.sent_s)
        assert len(asked.latencies_ms()) == 10
        cameras.play(5.0, 1.0)
        assert [len(run.sent_s) for run in cameras.runs] == [15, 5]
        assert all(run.best_effort <= run.sent_s.keys() for run in cameras.runs)
        assert [run.foreign for run in cameras.runs] == [0, 0]
    assert 0 < node.own_parts_ms(in_node_ms) < in_node_ms["latency, p99 (ms)"]
    published = sum(map(int, node.ANSWERED.findall(log.read_text())))
    assert published >= 3 + sum(len(run.heard_s) for run in cameras.runs)
