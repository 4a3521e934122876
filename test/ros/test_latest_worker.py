"""The newest item wins, and the thread ends when told to."""

import threading

from sdcpc_ros.latest_worker import LatestWorker


def test_waiting_items_are_replaced_and_the_newest_is_handled():
    begun, go, last = threading.Event(), threading.Event(), threading.Event()
    handled = []

    def handle(item: int) -> None:
        handled.append(item)
        begun.set()
        if item == 1:
            go.wait(10)
        if item == 4:
            last.set()

    worker = LatestWorker(handle, prepare=lambda: handled.append(0))
    assert not worker.offer(1)
    assert begun.wait(10)
    assert [worker.offer(item) for item in (2, 3, 4)] == [False, True, True]
    go.set()
    assert last.wait(10)
    assert not worker.stop()
    assert handled == [0, 1, 4]


def test_stop_finishes_the_item_at_work_and_abandons_the_waiting_one():
    begun, go = threading.Event(), threading.Event()
    handled = []

    def handle(item: int) -> None:
        begun.set()
        go.wait(10)
        handled.append(item)

    worker = LatestWorker(handle, prepare=lambda: None)
    worker.offer(1)
    assert begun.wait(10)
    worker.offer(2)
    stopper = threading.Timer(0.1, go.set)
    stopper.start()
    assert worker.stop()
    assert handled == [1]
    assert "segmentation_worker" not in {thread.name for thread in threading.enumerate()}


def test_a_worker_without_items_stops():
    assert not LatestWorker(print, prepare=lambda: None).stop()
