"""What the core logs reaches the ROS logger, level by level."""

import logging
from types import SimpleNamespace

import pytest

from sdcpc_ros.ros_logging import core_logs_to

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "critical": "fatal"}


def test_levels_and_texts_arrive_and_the_core_is_left_as_it_was():
    core = logging.getLogger("sdcpc_core")
    before = core.level, core.propagate, list(core.handlers)
    said = []
    ros_logger = SimpleNamespace(
        **{level: lambda text, level=level: said.append((level, text)) for level in LEVELS.values()}
    )
    with core_logs_to(ros_logger):
        for level in LEVELS:
            getattr(logging.getLogger("sdcpc_core.streaming"), level)("%d frames", 3)
    assert said == [(level, "3 frames") for level in LEVELS.values()]
    assert (core.level, core.propagate, core.handlers) == before


def test_a_real_ros_logger_takes_changing_levels():
    rclpy_logging = pytest.importorskip("rclpy.logging")
    with core_logs_to(rclpy_logging.get_logger("sdcpc_test")):
        for level in (*LEVELS, *LEVELS):
            getattr(logging.getLogger("sdcpc_core"), level)("said")
