"""Running the node from its start to a clean end."""

import gc
import signal

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.utilities import try_shutdown

from sdcpc_ros.node import SegmentationNode
from sdcpc_ros.ros_logging import core_logs_to

POLL_S = 0.2
"""Longest wait in one go: an idle node ends this long after a signal at the latest."""


class _SignalHandler:
    """What rclpy's handler calls after it has seen to it that spinning ends.

    Python's own would raise KeyboardInterrupt wherever it finds the program, and once more in the middle of the
    clean-up when both a terminal and a launch file send the signal. This one does so once, where nothing else would
    end the program soon.

    Attributes:
        breaks_off: whether the next signal raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.breaks_off = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    def __call__(self, *signal_and_frame: object) -> None:
        if self.breaks_off:
            self.breaks_off = False
            raise KeyboardInterrupt


def run(args: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    Args:
        args: command line; None for that of the process.
    """
    # What has been imported stays: to look through all of PyTorch again and again would hold up frames, and the end.
    gc.freeze()
    signals = _SignalHandler()
    rclpy.init(args=args)
    try:
        _spin(signals)
    except KeyboardInterrupt:
        pass
    except Exception:
        # A signal surfaces as ExternalShutdownException or, where rclpy was about to wait, as an error of its core.
        if rclpy.ok():
            raise
    finally:
        try_shutdown()
        # A life-cycle node refers to itself. Until it goes, others believe in it, and its shared memory stays.
        gc.collect()


def _spin(signals: _SignalHandler) -> None:
    node = SegmentationNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with core_logs_to(node.get_logger()):
            # Loading and warming up the network takes long, and asks nobody whether it is still wanted.
            signals.breaks_off = True
            node.start()
            signals.breaks_off = False
            # Not rclpy.spin: it waits without a limit, misses a shutdown now and then, and an idle node stays.
            while rclpy.ok():
                executor.spin_once(timeout_sec=POLL_S)
    finally:
        executor.shutdown()
        node.destroy_node()
