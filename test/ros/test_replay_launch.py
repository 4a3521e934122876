"""The launch file of a replay: loaded where launch is installed, read as text elsewhere."""

import ast
import importlib.util
from pathlib import Path

import pytest

from sdcpc_ros.replay import parse

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "replay.launch.py"
ARGUMENTS = ["bag", "topic", "out", "rate", "loops", "labels", "checkpoint", "device", "rviz"]


def test_every_argument_has_a_description():
    calls = [node for node in ast.walk(ast.parse(LAUNCH_FILE.read_text())) if isinstance(node, ast.Call)]
    declared = [call for call in calls if getattr(call.func, "id", "") == "DeclareLaunchArgument"]
    assert [call.args[0].value for call in declared] == ARGUMENTS
    for call in declared:
        assert "description" in {keyword.arg for keyword in call.keywords}


def test_the_command_it_starts_is_one(monkeypatch, tmp_path):
    pytest.importorskip("launch_ros")  # of launch alone there is a folder here
    import ament_index_python.packages
    import launch

    for name in ("get_package_share_directory", "get_package_prefix"):
        monkeypatch.setattr(ament_index_python.packages, name, lambda package: str(tmp_path))
    spec = importlib.util.spec_from_file_location("replay_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    given = {
        "bag": "drive.mcap",
        "out": "out",
        "rate": "2.0",
        "loops": "3",
        "topic": "/a",
        "labels": "",
        "checkpoint": "",
        "device": "",
    }
    context.launch_configurations.update(given)
    player, _ = module._replay(context)
    words = ["".join(part.perform(context) for part in word) for word in player.process_description.cmd]
    arguments = parse(words[2:])
    assert words[1] == "replay"
    assert (arguments.bag, arguments.topic, arguments.rate, arguments.loops) == (Path("drive.mcap"), "/a", 2.0, 3)
    assert (arguments.running, arguments.image, arguments.labels) == ("", module.IMAGE, None)
