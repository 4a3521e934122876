from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdcpc_ros.newest_wins import SimulatedWorker


def answered(arrivals, latency: int) -> list[tuple[str, int, int]]:
    """Camera, arrival and begin of work of each frame that is answered."""
    handled = []

    def handle(frame, start: int) -> int:
        handled.append((*frame, start))
        return latency

    worker = SimulatedWorker(handle)
    for camera, arrival in arrivals:
        worker.offer(camera, arrival, (camera, arrival))
    worker.finish()
    return handled


def test_the_newest_frame_wins():
    arrivals = [("front", time) for time in (0, 10, 20, 30, 40, 50, 90)]
    wanted = [(0, 0), (20, 25), (40, 50), (50, 75), (90, 100)]
    assert answered(arrivals, 25) == [("front", *times) for times in wanted]


def test_a_fast_camera_leaves_a_slow_one_its_turn():
    arrivals = [("fast", 0), ("fast", 10), ("slow", 11), ("fast", 20), ("fast", 30), ("fast", 40)]
    wanted = [("fast", 0, 0), ("fast", 20, 25), ("slow", 11, 50), ("fast", 40, 75)]
    assert answered(arrivals, 25) == wanted


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 120))
def test_work_never_overlaps_and_the_last_frame_is_answered(gaps, latency):
    times = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    begun = answered([("front", time) for time in times], latency)
    assert begun[-1][1] == times[-1]
    assert all(start >= arrival for _, arrival, start in begun)
    assert all(b[2] >= a[2] + latency for a, b in pairwise(begun))
    if latency == 0:
        assert len(begun) == len(times)


@pytest.mark.parametrize("latency", [9, 10])
def test_a_computer_that_keeps_up_answers_all(latency):
    assert len(answered([("front", 10 * i) for i in range(20)], latency)) == 20
