"""Start the segmentation node, and RViz where it is wanted."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from sdcpc_ros.transport import large_image_environment, transport_is_chosen

OVERRIDES = ("checkpoint", "device", "precision", "image_transport", "mask_preset", "mask_polarity", "mask_for_skipped")
"""Parameters that have an argument of their name, which overrides the parameter file unless it is empty."""


def generate_launch_description() -> LaunchDescription:
    config = Path(get_package_share_directory("sdcpc_ros")) / "config"
    as_file = "; empty: as the parameter file says"
    arguments = [
        DeclareLaunchArgument(
            "image",
            default_value="image",
            description="camera topic (sensor_msgs/Image), without /compressed; with several cameras the part of its "
            "name after that of the camera",
        ),
        DeclareLaunchArgument(
            "camera_info", default_value="", description="calibration; empty: camera_info beside the camera topic"
        ),
        DeclareLaunchArgument(
            "depth", default_value="", description="depth topic to publish without what moves; empty: none"
        ),
        DeclareLaunchArgument(
            "cameras",
            default_value="",
            description="names of several cameras on one network, separated by commas, such as /front,/rear; "
            "empty: as the parameter file says",
        ),
        DeclareLaunchArgument("checkpoint", default_value="", description=f"checkpoint file{as_file}"),
        DeclareLaunchArgument("device", default_value="", description=f"auto, cpu, cuda, cuda:1{as_file}"),
        DeclareLaunchArgument("precision", default_value="", description=f"fp32, bf16, fp16{as_file}"),
        DeclareLaunchArgument("image_transport", default_value="", description=f"raw, compressed{as_file}"),
        DeclareLaunchArgument(
            "mask_preset", default_value="", description=f"cuvslam, nvblox, openvins, stella_vslam{as_file}"
        ),
        DeclareLaunchArgument("mask_polarity", default_value="", description=f"dynamic_white, dynamic_black{as_file}"),
        DeclareLaunchArgument(
            "mask_for_skipped",
            default_value="",
            description=f"mask of images that are not answered: last, none{as_file}",
        ),
        DeclareLaunchArgument(
            "params_file", default_value=str(config / "segmentation.yaml"), description="parameters of the node"
        ),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
        DeclareLaunchArgument("name", default_value="segmentation", description="name of the node"),
        DeclareLaunchArgument(
            "autostart",
            default_value="",
            choices=["", "true", "false"],
            description=f"configure and activate; false: for a lifecycle manager{as_file}",
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", choices=["true", "false"], description="take the time from /clock"
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="least severity the node logs",
        ),
        DeclareLaunchArgument(
            "rviz", default_value="false", choices=["true", "false"], description="show camera and results in RViz"
        ),
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(config / "segmentation.rviz")],
        parameters=[{"use_sim_time": _flag("use_sim_time")}],
        remappings=[("image", LaunchConfiguration("image"))],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    # RViz first: where it is not installed, launch ends with an error before it has a node to leave behind.
    return LaunchDescription(
        [*arguments, OpaqueFunction(function=_transport), rviz, OpaqueFunction(function=_segmentation_node)]
    )


def _transport(context: LaunchContext) -> list[SetEnvironmentVariable]:
    if transport_is_chosen(context.environment):
        return []
    return [SetEnvironmentVariable(name, value) for name, value in large_image_environment().items()]


def _segmentation_node(context: LaunchContext) -> list[Node]:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    cameras = [name for name in given("cameras").replace(",", " ").split() if name]
    # An argument left empty must not override the parameter file.
    overrides = {name: ParameterValue(given(name), value_type=str) for name in OVERRIDES if given(name)}
    if cameras:
        overrides["cameras"] = cameras
    if given("autostart"):
        overrides["autostart"] = given("autostart") == "true"
    if given("depth"):
        overrides["edit_depth"] = True
    return [
        Node(
            package="sdcpc_ros",
            executable="segmentation_node",
            name=LaunchConfiguration("name"),
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {"use_sim_time": _flag("use_sim_time"), **overrides},
            ],
            remappings=[
                (f"{prefix}{topic}", f"{prefix}{given(topic)}")
                for prefix in ([f"{camera}/" for camera in cameras] or [""])
                for topic in ("image", "camera_info", "depth")
                if given(topic) and given(topic) != topic
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
        )
    ]


def _flag(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=bool)
