"""Advice on the transport of large images, given only where it applies."""

import pytest

from sdcpc_ros.transport import transport_advice


@pytest.mark.parametrize(
    ("rmw", "environment", "advice"),
    [
        ("rmw_fastrtps_cpp", {}, "FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA"),
        ("rmw_fastrtps_cpp", {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, None),
        ("rmw_fastrtps_cpp", {"FASTDDS_DEFAULT_PROFILES_FILE": "profiles.xml"}, None),
        (
            "rmw_fastrtps_cpp",
            {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
            "unset it",
        ),
        ("rmw_cyclonedds_cpp", {}, None),
    ],
)
def test_advice(rmw, environment, advice):
    said = transport_advice(rmw, environment)
    assert said is None if advice is None else advice in said
