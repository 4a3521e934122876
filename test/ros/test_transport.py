"""Advice on the transport of large images, given only where it applies; the profile that makes it needless."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sdcpc_ros.transport import large_image_environment, transport_advice, transport_is_chosen

LARGE_DATA = {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}
LOCALHOST = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
PROFILE = {"FASTDDS_DEFAULT_PROFILES_FILE": "profiles.xml"}


@pytest.mark.parametrize(
    ("rmw", "environment", "advice"),
    [
        ("rmw_fastrtps_cpp", {}, "default transports: set FASTDDS_DEFAULT_PROFILES_FILE=/"),
        ("rmw_fastrtps_cpp", LOCALHOST, "default transports: set FASTDDS_DEFAULT_PROFILES_FILE=/"),
        ("rmw_fastrtps_cpp", LARGE_DATA, None),
        ("rmw_fastrtps_cpp", LARGE_DATA | LOCALHOST, "LOCALHOST, which overrules"),
        ("rmw_fastrtps_cpp", PROFILE, None),
        ("rmw_fastrtps_cpp", PROFILE | LOCALHOST, None),
        ("rmw_fastrtps_cpp", {"FASTRTPS_DEFAULT_PROFILES_FILE": "profiles.xml"}, None),
        ("rmw_cyclonedds_cpp", {}, None),
    ],
)
def test_advice(rmw, environment, advice):
    said = transport_advice(rmw, environment)
    assert said is None if advice is None else advice in said


@pytest.mark.parametrize(
    ("distribution", "names"),
    [
        ("humble", {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}),
        ("kilted", {"FASTDDS_DEFAULT_PROFILES_FILE"}),
    ],
)
def test_the_profile_is_there_under_the_name_the_distribution_reads(monkeypatch, distribution, names):
    monkeypatch.setenv("ROS_DISTRO", distribution)
    environment = large_image_environment()
    assert environment.keys() == names
    assert transport_is_chosen(environment)
    (path,) = {Path(value) for value in environment.values()}
    types = [tag.text for tag in ElementTree.parse(path).iter() if tag.tag.endswith("}type")]
    assert types == ["SHM", "UDPv4"]


def test_isolation_takes_nothing_from_the_environment_and_gives_it_back(monkeypatch, tmp_path):
    pytest.importorskip("rclpy")
    from sdcpc_ros.player import isolated_ros

    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    monkeypatch.setenv("ROS_DISCOVERY_SERVER", "robot:11811")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "profiles.xml")
    monkeypatch.delenv("ROS_STATIC_PEERS", raising=False)
    before = dict(os.environ)
    with isolated_ros(str(tmp_path)):
        assert os.environ.items() >= large_image_environment().items()
        assert os.environ.keys().isdisjoint(["FASTDDS_BUILTIN_TRANSPORTS", "ROS_DISCOVERY_SERVER", "ROS_STATIC_PEERS"])
    assert os.environ == before
