"""What the core logs, said by the node: on its console, in its log file and on /rosout."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def core_logs_to(ros_logger: Any) -> Iterator[None]:
    """Send the records of ``sdcpc_core`` to a ROS logger, whose level then decides what is shown.

    Args:
        ros_logger: what ``Node.get_logger()`` returns.
    """
    core = logging.getLogger("sdcpc_core")
    level, propagate = core.level, core.propagate
    handler = _RosHandler(ros_logger)
    core.addHandler(handler)
    core.setLevel(logging.DEBUG)
    core.propagate = False
    try:
        yield
    finally:
        core.removeHandler(handler)
        core.setLevel(level)
        core.propagate = propagate


class _RosHandler(logging.Handler):
    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        self._logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # One line per level: rclpy refuses a call site whose severity changes between calls.
        if record.levelno >= logging.CRITICAL:
            self._logger.fatal(text)
        elif record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)
