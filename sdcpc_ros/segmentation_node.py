"""The console script ``segmentation_node``: what is imported here must not take time."""

import signal
import sys

from sdcpc_core.errors import MissingDependencyError


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM.

    Returns:
        Exit status: 0, or 1 where ROS 2 or PyTorch is missing.
    """
    # PyTorch and rclpy take seconds to import. Until then there is nothing to clean up, and Python's handler would
    # print where in them it was interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from sdcpc_ros.node import run
    except MissingDependencyError as err:
        print(f"segmentation_node: error: {err}", file=sys.stderr)
        return 1
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
