"""Newest wins: where a camera's frames wait for their turn, the newest to be answered, of the others only headers."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arrival:
    """An image and when it came.

    Attributes:
        message: ``sensor_msgs/Image`` or ``CompressedImage`` as received.
        receive_ns: the node's clock (ns), simulated time where ``use_sim_time`` is set.
        arrived_s: steady clock (s).
    """

    message: Any
    receive_ns: int
    arrived_s: float


@dataclass(frozen=True)
class Turn:
    """What a camera has for the worker.

    Attributes:
        frame: the image to answer; None where only passed-over ones came.
        before: headers of the images that are older and go unanswered, oldest first.
        after: headers of those that are newer.
    """

    frame: Arrival | None = None
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()


@dataclass
class NewestFrame:
    """A place for one waiting image; a newer one takes it over. For two threads.

    Attributes:
        keeps_headers: asks whether the headers of images that go unanswered are wanted.
    """

    keeps_headers: Callable[[], bool]
    _turn: Turn = field(default_factory=Turn)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, arrival: Arrival) -> bool:
        """Leave an image to be answered, without waiting.

        Returns:
            Whether it took the place of one that had not been begun.
        """
        with self._lock:
            waiting = self._turn
            older = () if waiting.frame is None else (waiting.frame.message.header,)
            before = (*waiting.before, *older, *waiting.after) if self.keeps_headers() else ()
            self._turn = Turn(arrival, before)
        return bool(older)

    def pass_over(self, header: Any) -> bool:
        """Leave the header of an image that is not to be answered.

        Returns:
            Whether it is kept, so that there is something to do.
        """
        if not self.keeps_headers():
            return False
        with self._lock:
            waiting = self._turn
            self._turn = Turn(waiting.frame, waiting.before, (*waiting.after, header))
        return True

    def take(self) -> Turn:
        """Take what waits, which may be nothing."""
        with self._lock:
            turn, self._turn = self._turn, Turn()
        return turn
