"""The console script ``segmentation_node``: what is imported here must not take time."""

import os
import signal
import sys


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM, and end the process.

    Returns:
        Exit status: 1 where ROS 2 or PyTorch is missing.
    """
    # PyTorch and rclpy take seconds to import. Until then there is nothing to clean up, and Python's handler would
    # print where in them it was interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from sdcpc_ros.spinning import run
    except ModuleNotFoundError as err:
        print(
            f"segmentation_node: error: {sys.executable} has no module {err.name!r}: source a ROS 2 installation and "
            "install PyTorch for its Python, or install both into a virtual environment with: pip install '.[ros]' "
            "in the checkout",
            file=sys.stderr,
        )
        return 1
    run(args)
    # Python would take PyTorch apart object by object and wait for the network: seconds on a busy machine, after which
    # launch loses its patience, for memory that the system takes back at once.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
