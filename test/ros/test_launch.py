"""The launch file: loaded where launch is installed, read as text elsewhere."""

import ast
import importlib.util
from pathlib import Path

import pytest
import yaml

from sdcpc_ros.parameters import SETTINGS
from sdcpc_ros.transport import large_image_environment

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "segmentation.launch.py"
INPUTS = ["image", "camera_info", "depth", "cameras"]
OVERRIDES = [
    "checkpoint",
    "device",
    "precision",
    "image_transport",
    "mask_preset",
    "mask_polarity",
    "mask_for_skipped",
]
ARGUMENTS = [
    *INPUTS,
    *OVERRIDES,
    *("params_file", "namespace", "name", "autostart", "use_sim_time", "log_level", "rviz"),
]


def test_every_argument_has_a_description():
    calls = [node for node in ast.walk(ast.parse(LAUNCH_FILE.read_text())) if isinstance(node, ast.Call)]
    declared = [call for call in calls if getattr(call.func, "id", "") == "DeclareLaunchArgument"]
    assert [call.args[0].value for call in declared] == ARGUMENTS
    for call in declared:
        assert {"default_value", "description"} <= {keyword.arg for keyword in call.keywords}


@pytest.fixture
def visit(monkeypatch, tmp_path):
    """Visitor of the launch description with launch arguments: its context and the actions it leads to."""
    pytest.importorskip("launch_ros")
    launch = pytest.importorskip("launch")
    import ament_index_python.packages

    monkeypatch.setattr(ament_index_python.packages, "get_package_share_directory", lambda name: str(tmp_path))
    for name in ("FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("segmentation_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def visit(**arguments: str):
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        actions = []
        for entity in module.generate_launch_description().entities:
            if getattr(entity, "node_executable", "") == "rviz2":
                continue
            for action in entity.visit(context) or []:
                if isinstance(action, launch.actions.SetEnvironmentVariable):
                    action.visit(context)
                else:
                    actions.append(action)
        return context, actions

    visit.describe = module.generate_launch_description
    return visit


def node_parameters(node) -> dict:
    """What the launch file itself sets, beside the parameter file."""
    path, is_file = node._Node__expanded_parameter_arguments[-1]
    assert is_file
    # Not safe_load: launch writes lists as tuples of Python, a tag that ROS does not look at.
    (by_node,) = yaml.full_load(Path(path).read_text()).values()
    return by_node["ros__parameters"]


def test_it_starts_the_node_with_what_the_arguments_say(visit):
    context, (node,) = visit(checkpoint="/tmp/x.safetensors", device="cpu", namespace="front", image="/camera")
    assert context.launch_configurations.keys() >= set(ARGUMENTS)
    assert node.node_executable == "segmentation_node"
    node._perform_substitutions(context)
    assert node.node_name == "/front/segmentation"
    assert node.expanded_remapping_rules == [("image", "/camera")]
    assert node_parameters(node) == {"checkpoint": "/tmp/x.safetensors", "device": "cpu", "use_sim_time": False}


def test_empty_arguments_leave_the_parameter_file_its_say(visit):
    context, (node,) = visit()
    node._perform_substitutions(context)
    assert node_parameters(node) == {"use_sim_time": False}


def test_several_cameras_are_remapped_one_by_one(visit):
    context, (node,) = visit(cameras="/front, rear", image="image_raw", depth="depth/image", autostart="false")
    node._perform_substitutions(context)
    assert node.expanded_remapping_rules == [
        ("/front/image", "/front/image_raw"),
        ("/front/depth", "/front/depth/image"),
        ("rear/image", "rear/image_raw"),
        ("rear/depth", "rear/depth/image"),
    ]
    parameters = node_parameters(node)
    assert parameters == {
        "cameras": ("/front", "rear"),
        "edit_depth": True,
        "autostart": False,
        "use_sim_time": False,
    }


def test_every_parameter_it_sets_is_one_of_the_node(visit):
    context, (node,) = visit(**dict.fromkeys(OVERRIDES, "x"), depth="/depth", cameras="front", autostart="true")
    node._perform_substitutions(context)
    assert node_parameters(node).keys() - {"use_sim_time"} <= SETTINGS.keys()


def test_it_chooses_the_transport(visit):
    context, _ = visit()
    assert context.environment.items() >= large_image_environment().items()


@pytest.mark.parametrize("name", ["FASTDDS_BUILTIN_TRANSPORTS", "FASTRTPS_DEFAULT_PROFILES_FILE"])
def test_a_transport_chosen_by_the_user_stays(visit, monkeypatch, name):
    monkeypatch.setenv(name, "mine")
    context, _ = visit()
    assert context.environment[name] == "mine"
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in context.environment


def test_the_node_comes_last_lest_a_missing_rviz_leaves_it_behind(visit):
    entities = visit.describe().entities
    rviz = next(i for i, entity in enumerate(entities) if getattr(entity, "node_executable", "") == "rviz2")
    assert rviz == len(entities) - 2
