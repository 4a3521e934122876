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


def generate_launch_description() -> LaunchDescription:
    config = Path(get_package_share_directory("sdcpc_ros")) / "config"
    arguments = [
        DeclareLaunchArgument("image", default_value="image", description="camera topic (sensor_msgs/Image)"),
        DeclareLaunchArgument(
            "checkpoint", default_value="", description="checkpoint file; empty: as the parameter file says"
        ),
        DeclareLaunchArgument(
            "device", default_value="", description="auto, cpu, cuda, cuda:1; empty: as the parameter file says"
        ),
        DeclareLaunchArgument(
            "params_file", default_value=str(config / "segmentation.yaml"), description="parameters of the node"
        ),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
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
    # An argument left empty must not override the parameter file.
    given = {name: LaunchConfiguration(name).perform(context) for name in ("checkpoint", "device")}
    overrides = {name: ParameterValue(value, value_type=str) for name, value in given.items() if value}
    return [
        Node(
            package="sdcpc_ros",
            executable="segmentation_node",
            name="segmentation",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {"use_sim_time": _flag("use_sim_time"), **overrides},
            ],
            remappings=[("image", LaunchConfiguration("image"))],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
        )
    ]


def _flag(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=bool)
