"""The newest frame wins; of the others at most headers are kept, in order."""

from types import SimpleNamespace

from sdcpc_ros.newest_frame import Arrival, NewestFrame, Turn


def arrival(name: str) -> Arrival:
    return Arrival(SimpleNamespace(header=name), receive_ns=0, arrived_s=0.0)


def test_a_newer_frame_takes_the_place_of_the_waiting_one():
    waiting = NewestFrame(keeps_headers=lambda: False)
    newest = arrival("c")
    assert [waiting.put(frame) for frame in (arrival("a"), arrival("b"), newest)] == [False, True, True]
    assert not waiting.pass_over("d")
    assert waiting.take() == Turn(newest)
    assert waiting.take() == Turn()
    assert not waiting.put(arrival("e"))


def test_headers_of_frames_without_an_answer_are_kept_in_order():
    waiting = NewestFrame(keeps_headers=lambda: True)
    newest = arrival("e")
    assert waiting.pass_over("a")
    waiting.put(arrival("b"))
    waiting.pass_over("c")
    waiting.put(arrival("d"))
    waiting.put(newest)
    waiting.pass_over("f")
    assert waiting.take() == Turn(newest, before=("a", "b", "c", "d"), after=("f",))
    waiting.pass_over("g")
    assert waiting.take() == Turn(None, after=("g",))
