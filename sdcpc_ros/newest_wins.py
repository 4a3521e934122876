"""Newest wins, simulated: which frames a computer of a given speed would have answered, and when."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SimulatedWorker(Generic[T]):
    """Works on one frame at a time, as the node's worker does; beside it, one frame of each camera waits.

    A newer frame takes the place of the waiting one. The camera that has waited longest comes first.

    Args:
        handle: called with a frame and the time its work begins (ns); returns how long that takes (ns).
    """

    def __init__(self, handle: Callable[[T, int], int]) -> None:
        self._handle = handle
        self._waiting: dict[str, tuple[int, T]] = {}
        self._free_ns = 0

    def offer(self, camera: str, arrival_ns: int, frame: T) -> None:
        """Let a frame arrive, not before those that were offered.

        Args:
            camera: whose place in the queue it takes.
            arrival_ns: when it arrives (ns).
            frame: what is handled.
        """
        self._work_until(arrival_ns)
        self._waiting[camera] = (arrival_ns, frame)
        self._work_until(arrival_ns)

    def finish(self) -> None:
        """Work on what waits; no frame comes any more."""
        while self._waiting:
            self._work_until(self._free_ns)

    def _work_until(self, now_ns: int) -> None:
        while self._waiting and self._free_ns <= now_ns:
            camera = next(iter(self._waiting))
            arrival_ns, frame = self._waiting.pop(camera)
            start_ns = max(self._free_ns, arrival_ns)
            self._free_ns = start_ns + self._handle(frame, start_ns)
