"""Figures of a camera's health, on times worked out by hand."""

import pytest

from sdcpc_ros.health import WINDOW_S, CameraHealth, Latency, arriving_share

PERIOD_NS = 33_000_000


def test_rates_and_latencies_are_those_of_the_last_seconds():
    health = CameraHealth(started_s=1000.0)
    for index in range(400):
        health.arrived(1000 + index / 20, stamp_ns=index)
        if index % 4 == 0:
            health.answered(1000 + index / 20, Latency(1.0, 2.0, 30.0, 4.0))
    recent = health.recent(1020.0)
    assert recent.rate_in_hz == pytest.approx(20, abs=0.2)
    assert recent.rate_out_hz == pytest.approx(5, abs=0.2)
    assert {latency.total_ms for latency in recent.latencies} == {37.0}
    assert recent.silent_s == pytest.approx(0.05)
    later = health.recent(1020 + WINDOW_S)
    assert (later.rate_in_hz, later.latencies, later.arriving) == (0, (), None)
    assert later.silent_s == pytest.approx(WINDOW_S + 0.05)
    assert (health.counts.received, health.counts.answered) == (400, 100)


def test_right_after_the_start_rates_are_not_thinned_by_a_window_that_has_not_passed():
    health = CameraHealth(started_s=50.0)
    for index in range(40):
        health.arrived(50 + index / 20, index)
    assert health.recent(52.0).rate_in_hz == pytest.approx(20)


def test_bad_and_failed_frames_are_counted_by_cause_and_forgotten_as_news():
    health = CameraHealth(0.0)
    for index in range(30):
        health.bad(1.0, f"cause {index % 25}")
    health.failed(1.0)
    recent = health.recent(2.0)
    assert (recent.bad, recent.failed) == (30, 1)
    causes = health.causes()
    assert sum(causes.values()) == health.counts.bad == 30
    assert len(causes) == 21
    assert causes["other"] == 5
    recent = health.recent(20.0)
    assert (recent.bad, recent.failed) == (0, 0)


@pytest.mark.parametrize(
    ("kept", "share"),
    [(range(100), 1.0), ([i for i in range(100) if i % 3], 0.67), (range(0, 100, 20), None)],
    ids=["all", "two of three", "too few to tell"],
)
def test_missing_images_show_in_the_stamps(kept, share):
    stamps_ns = [index * PERIOD_NS for index in kept]
    assert arriving_share(stamps_ns) == (share if share is None else pytest.approx(share, abs=0.02))


@pytest.mark.parametrize("stamps_ns", [[0] * 30, list(range(20, 0, -1))])
def test_stamps_that_are_no_clock_tell_nothing(stamps_ns):
    assert arriving_share(stamps_ns) is None
