"""Running the node from its start to a clean end."""

import signal

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.utilities import try_shutdown

from sdcpc_ros.node import SegmentationNode
from sdcpc_ros.ros_logging import core_logs_to

POLL_S = 0.2
"""Longest wait in one go: an idle node ends this long after a signal at the latest."""


def run(args: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    Args:
        args: command line; None for that of the process.
    """
    # rclpy's own handler ends the spinning. Python's would raise KeyboardInterrupt wherever it finds the program,
    # and once more in the middle of the clean-up when both a terminal and a launch file send the signal.
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=args)
    try:
        _spin()
    except Exception:
        # A signal surfaces as ExternalShutdownException or, where rclpy was about to wait, as an error of its core.
        if rclpy.ok():
            raise
    finally:
        try_shutdown()


def _spin() -> None:
    node = SegmentationNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with core_logs_to(node.get_logger()):
            node.start()
            # Not rclpy.spin: it waits without a limit, misses a shutdown now and then, and an idle node stays.
            while rclpy.ok():
                executor.spin_once(timeout_sec=POLL_S)
    finally:
        executor.shutdown()
        node.destroy_node()
