"""Play a bag to the segmentation node, see it in RViz where that is wanted, and write the report."""

from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

IMAGE = "/replay/image"
"""Where the bag's images are played, whatever their topic is called in it."""


def generate_launch_description() -> LaunchDescription:
    segmentation = Path(get_package_share_directory("sdcpc_ros")) / "launch" / "segmentation.launch.py"
    arguments = [
        DeclareLaunchArgument("bag", description="bag to play: rosbag2 folder, .mcap or .db3 file, or ROS 1 bag"),
        DeclareLaunchArgument("topic", default_value="", description="its images; empty: the only image topic"),
        DeclareLaunchArgument("out", default_value="out/replay", description="folder for the report"),
        DeclareLaunchArgument("rate", default_value="1.0", description="times as fast as recorded"),
        DeclareLaunchArgument("loops", default_value="1", description="how many times"),
        DeclareLaunchArgument("labels", default_value="", description="true labels: topic of the bag, or folder"),
        DeclareLaunchArgument("checkpoint", default_value="", description="checkpoint file; empty: the shipped one"),
        DeclareLaunchArgument("device", default_value="", description="auto, cpu, cuda, cuda:1"),
        DeclareLaunchArgument(
            "rviz", default_value="false", choices=["true", "false"], description="show camera and results in RViz"
        ),
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(segmentation)),
        launch_arguments={
            "image": IMAGE,
            "use_sim_time": "true",
            **{name: LaunchConfiguration(name) for name in ("checkpoint", "device", "rviz")},
        }.items(),
    )
    return LaunchDescription([*arguments, node, OpaqueFunction(function=_replay)])


def _replay(context: LaunchContext) -> list[ExecuteProcess | RegisterEventHandler]:
    # An argument left empty is the command's own default.
    given = {name: LaunchConfiguration(name).perform(context) for name in ("topic", "labels", "checkpoint", "device")}
    options = [word for name, value in given.items() if value for word in (f"--{name}", value)]
    command = Path(get_package_prefix("sdcpc_ros")) / "lib" / "sdcpc_ros" / "sdcpc"
    player = ExecuteProcess(
        cmd=[
            *(str(command), "replay", LaunchConfiguration("bag"), "--running", "--image", IMAGE, "--overwrite"),
            *("--out", LaunchConfiguration("out"), "--rate", LaunchConfiguration("rate")),
            *("--loops", LaunchConfiguration("loops"), *options),
        ],
        output="screen",
    )
    # The report ends the launch, and the node with it.
    return [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[Shutdown()]))]
