"""One distribution, built alike by pip and by colcon."""

from glob import glob

from setuptools import find_packages, setup

setup(
    name="sdcpc_ros",
    version="0.1.0",
    description="Video semantic segmentation for robots: SD-CPC in PyTorch, with a ROS 2 node",
    license="Apache-2.0",
    maintainer="SD-CPC for ROS 2 maintainers",
    maintainer_email="maintainers@example.org",
    packages=find_packages(include=["sdcpc_core*", "sdcpc_ros*"]),
    package_data={
        "sdcpc_core": ["checkpoints/*.safetensors", "checkpoints/*.md", "pages/templates/*"],
        "sdcpc_ros": ["fastdds.xml"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sdcpc_ros"]),
        ("share/sdcpc_ros", ["package.xml", "LICENSE"]),
        ("share/sdcpc_ros/launch", glob("launch/*.launch.py")),
        ("share/sdcpc_ros/config", glob("config/*.yaml") + glob("config/*.rviz") + ["sdcpc_ros/fastdds.xml"]),
        ("share/sdcpc_ros/config/train", glob("config/train/*.yaml")),
        ("share/sdcpc_ros/config/train/ablation", glob("config/train/ablation/*.yaml")),
    ],
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.5",  # the network
        "numpy",  # images and label maps at every boundary
        "opencv-python-headless",  # cv2: image files, colours, drawing; no screen needed
        "safetensors",  # checkpoints that cannot run code
        "rich",  # progress bars and tables of the command line
    ],
    extras_require={
        "train": [
            "lightning>=2.4",  # the training loop
            "torchmetrics",  # confusion matrices; evaluation needs no more of this extra
            "tensorboard",  # its curves
            "jsonargparse[signatures]>=4.49",  # settings from YAML and from the command line alike
        ],
        "report": ["jinja2"],  # pages of results
        "video": ["av"],  # read and write video files
        "bag": ["rosbags"],  # read and write bags without a ROS installation
        "view": ["rerun-sdk>=0.23"],  # a viewer of camera, labels and curves over time
        # ROS 2 for machines without it: these wheels exist for Linux on x86-64 only, robots bring their own.
        "ros": [
            f"{wheel}; sys_platform == 'linux' and platform_machine == 'x86_64'"
            for wheel in (
                "ros-rclpy",
                "ros-rmw-fastrtps-cpp",
                "ros-diagnostic-msgs",
                "ros-lifecycle-msgs",
                "ros-rosgraph-msgs",
                "ros-sensor-msgs",
                "ros-std-msgs",
                "ros-std-srvs",
            )
        ],
        "benchmark": ["transformers"],  # the SegFormer to compare with
        "dev": [
            "pytest",
            "pytest-timeout",
            "hypothesis",
            "PyYAML",
            "rosbags-image",  # a converter of images to compare with
            "ruff",
            "import-linter",
            "pre-commit",
            "colcon-common-extensions",
            "triton; sys_platform == 'linux'",  # the kernels' tests run in its interpreter without a GPU
        ],
    },
    entry_points={
        "console_scripts": [
            "sdcpc = sdcpc_core.cli:main",
            "segmentation_node = sdcpc_ros.segmentation_node:main",
        ],
        "sdcpc.commands": [
            "train = sdcpc_core.training.command:train",
            "evaluate = sdcpc_core.evaluation.command:evaluate",
            "compare = sdcpc_core.comparison.command:compare",
            "data = sdcpc_core.data_command:data",
            "segment = sdcpc_core.segment:segment",
            "convert = sdcpc_core.convert:convert",
            "benchmark = sdcpc_core.benchmark.command:benchmark",
            "info = sdcpc_core.info:info",
            "bag = sdcpc_ros.bag:bag",
            "replay = sdcpc_ros.replay:replay",
            "view = sdcpc_ros.view:view",
            "demo = sdcpc_ros.demo:demo",
            "labels = sdcpc_ros.label_spaces:labels",
        ],
    },
)
