"""What pip and colcon install, and that it runs from there."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

import sdcpc_core

ROOT = Path(__file__).resolve().parents[1]

SHARED_FILES = [
    "ament_index/resource_index/packages/sdcpc_ros",
    "sdcpc_ros/package.xml",
    "sdcpc_ros/LICENSE",
    "sdcpc_ros/launch/replay.launch.py",
    "sdcpc_ros/launch/segmentation.launch.py",
    "sdcpc_ros/config/fastdds.xml",
    *(f"sdcpc_ros/{path.relative_to(ROOT)}" for path in sorted(ROOT.glob("config/**/*.yaml"))),
]
"""What ROS tools look for below share/."""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the checkout inside a workspace: building must not touch the original."""
    leave = shutil.ignore_patterns(".*", "build", "dist", "install", "log", "out", "runs", "*.egg-info", "__pycache__")
    return shutil.copytree(ROOT, tmp_path / "workspace" / "src" / "sdcpc_ros", ignore=leave)


def package_files(folder: Path) -> set[Path]:
    """Modules and data files of both packages, relative to the folder that holds the packages."""
    return {
        path.relative_to(folder)
        for package in ("sdcpc_core", "sdcpc_ros")
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_pip_installs_everything(sources, tmp_path):
    pytest.importorskip("setuptools", minversion="70.1", reason="older ones need more to build a wheel")
    target = tmp_path / "target"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(sources)], check=True)

    assert package_files(target) == package_files(ROOT)
    assert [name for name in SHARED_FILES if not (target / "share" / name).is_file()] == []
    assert {path.name for path in (target / "bin").iterdir()} >= {"sdcpc", "segmentation_node"}


@pytest.mark.skipif(find_spec("colcon_core") is None, reason="colcon is not installed")
@pytest.mark.parametrize("options", [(), ("--symlink-install",)], ids=["copied", "symlinked"])
def test_colcon_builds_a_node_that_runs(sources, options):
    workspace = sources.parents[1]
    subprocess.run([sys.executable, "-m", "colcon", "build", *options], cwd=workspace, check=True)

    prefix = workspace / "install" / "sdcpc_ros"
    assert [name for name in SHARED_FILES if not (prefix / "share" / name).is_file()] == []

    pytest.importorskip("rclpy")
    executable = prefix / "lib" / "sdcpc_ros" / "segmentation_node"
    # What `ros2 run` does after the two setup files; the domain keeps other nodes of this machine out.
    command = ["bash", "-c", f"source install/setup.bash && exec '{executable}'"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    with subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True) as node:
        try:
            log = []
            while (line := node.stderr.readline()) and "camvid" not in line and "cannot" not in line:
                log.append(line)
            time.sleep(2)  # from that line to listening
            node.send_signal(signal.SIGINT)
            log = "".join([*log, line, *node.stderr])
            assert node.wait() == 0, log
        finally:
            node.kill()
    assert "shipped checkpoint: 11 classes" in log


def test_ros_is_told_every_dependency_it_can_install():
    from_pip = {"av", "backports", "compression", "jinja2", "rerun", "rich", "rosbags", "safetensors", "torch"}
    rosdep_keys = {"cv2": "python3-opencv", "numpy": "python3-numpy", "yaml": "python3-yaml"}
    sources = [*ROOT.glob("sdcpc_ros/*.py"), *ROOT.glob("launch/*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source.read_bytes()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - from_pip
    modules -= {"sdcpc_core", "sdcpc_ros"}

    declared = {tag.text for tag in ElementTree.parse(ROOT / "package.xml").iter("exec_depend")}
    assert {rosdep_keys.get(module, module) for module in modules} <= declared


def test_the_version_is_the_same_everywhere():
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == sdcpc_core.__version__
    assert f"[{sdcpc_core.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
