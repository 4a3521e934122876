"""Newest wins: a thread that works on the latest item and never on a queue of old ones."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestWorker(Generic[T]):
    """A thread with a slot for one waiting item; a newer item takes the place of the waiting one.

    Args:
        handle: called in the thread with one item after another; must not raise.
        prepare: called in the thread before the first item.
    """

    def __init__(self, handle: Callable[[T], None], prepare: Callable[[], None]) -> None:
        self._handle = handle
        self._prepare = prepare
        self._waiting: T | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="segmentation_worker", daemon=True)
        self._thread.start()

    def offer(self, item: T) -> bool:
        """Hand an item over without waiting.

        Returns:
            Whether it took the place of one that had not been begun.
        """
        with self._changed:
            replaced = self._waiting is not None
            self._waiting = item
            self._changed.notify()
        return replaced

    def stop(self) -> bool:
        """Finish the item at work and end the thread.

        Returns:
            Whether an item was still waiting; it is not handled.
        """
        with self._changed:
            abandoned = self._waiting is not None
            self._waiting = None
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        return abandoned

    def _run(self) -> None:
        self._prepare()
        while (item := self._take()) is not None:
            self._handle(item)

    def _take(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._waiting is not None)
            item, self._waiting = self._waiting, None
            return item
