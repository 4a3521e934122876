"""The launch file: loaded where launch is installed, read as text elsewhere."""

import ast
import importlib.util
from pathlib import Path

import pytest

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "segmentation.launch.py"
ARGUMENTS = ["image", "checkpoint", "device", "params_file", "namespace", "use_sim_time", "log_level", "rviz"]


def test_every_argument_has_a_description():
    calls = [node for node in ast.walk(ast.parse(LAUNCH_FILE.read_text())) if isinstance(node, ast.Call)]
    declared = [call for call in calls if getattr(call.func, "id", "") == "DeclareLaunchArgument"]
    assert [call.args[0].value for call in declared] == ARGUMENTS
    for call in declared:
        assert {"default_value", "description"} <= {keyword.arg for keyword in call.keywords}


def test_it_describes_the_node_and_the_transport(monkeypatch, tmp_path):
    pytest.importorskip("launch_ros")
    launch = pytest.importorskip("launch")
    import ament_index_python.packages

    monkeypatch.setattr(ament_index_python.packages, "get_package_share_directory", lambda name: str(tmp_path))
    monkeypatch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    spec = importlib.util.spec_from_file_location("segmentation_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    started = []
    for entity in module.generate_launch_description().entities:
        started += entity.visit(context) or []
    assert context.launch_configurations.keys() >= set(ARGUMENTS)
    assert context.environment["FASTDDS_BUILTIN_TRANSPORTS"] == "LARGE_DATA"
    assert [action.node_executable for action in started] == ["segmentation_node"]
