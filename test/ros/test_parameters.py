"""Parameters: defaults written once, bad values refused with a reason."""

import inspect
from array import array
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml

from sdcpc_core.errors import ConfigError
from sdcpc_ros.parameters import SETTINGS, NodeParameters, checked

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_configuration_file_shows_every_parameter_with_its_default():
    shown = yaml.safe_load((CONFIG / "segmentation.yaml").read_text())["/**"]["ros__parameters"]
    assert {name: checked(name, value) for name, value in shown.items()} == asdict(NodeParameters())
    assert list(shown) == [spec.name for spec in fields(NodeParameters)]


def test_every_parameter_is_described():
    assert SETTINGS.keys() == {spec.name for spec in fields(NodeParameters)}
    assert all(setting.description for setting in SETTINGS.values())


def test_defaults_are_those_of_the_core():
    from sdcpc_core.streaming import Segmenter
    from sdcpc_core.visualization import overlay

    def default(function, name):
        return inspect.signature(function).parameters[name].default

    ours = NodeParameters()
    assert ours.device == default(Segmenter.from_checkpoint, "device")
    assert ours.precision == default(Segmenter.from_checkpoint, "precision")
    assert ours.max_gap_s == default(Segmenter.stream, "max_gap_s")
    assert ours.overlay_alpha == default(overlay, "alpha")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("max_gap_s", 3, 3.0), ("working_size", array("q", [480, 640]), (480, 640)), ("working_size", [0, 0], (0, 0))],
)
def test_values_take_the_type_of_their_parameter(name, value, wanted):
    assert checked(name, value) == wanted
    assert type(checked(name, value)) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("overlay_alpha", 1.5, "0 to 1"),
        ("overlay_alpha", "half", "a number"),
        ("overlay_alpha", float("nan"), "0 to 1"),
        ("max_gap_s", float("inf"), "0.001 to 86400"),
        ("max_gap_s", float("nan"), "0.001 to 86400"),
        ("cpu_threads", -1, "0 to 1024"),
        ("cpu_threads", 10**6, "0 to 1024"),
        ("working_size", [480], "two whole numbers"),
        ("working_size", [480, -1], "at least 0"),
        ("autostart", 1, "true or false"),
        ("checkpoint", None, "a string"),
    ],
)
def test_bad_values_are_refused_with_a_reason(name, value, reason):
    with pytest.raises(ConfigError, match=f"parameter {name} is .*{reason}"):
        checked(name, value)
