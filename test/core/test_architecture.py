"""The direction of imports: what a robot needs is all that a robot imports."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sdcpc_core

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    """Check the contracts of pyproject.toml on the packages in a folder."""
    pytest.importorskip("importlinter")
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)


def test_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("sdcpc_core/metrics/confusion.py", "import sensor_msgs.msg", "The core knows nothing of ROS"),
        ("sdcpc_core/labels.py", "import sdcpc_ros.conversions", "The core knows nothing of ROS"),
        ("sdcpc_core/streaming.py", "import sdcpc_core.data.clips", "Streaming needs no training"),
        ("sdcpc_core/labels.py", "import sdcpc_core.training.losses", "Streaming needs no training"),
        ("sdcpc_core/models/ssea.py", "import sdcpc_core.streaming", "Imports point downwards"),
        ("sdcpc_core/ops/deform_conv.py", "import sdcpc_core.models.ssea", "Imports point downwards"),
    ],
)
def test_contracts_notice(tmp_path, module, statement, contract):
    for name in ("sdcpc_core", "sdcpc_ros"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{statement}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout


def test_a_robot_needs_only_the_core_requirements():
    absent = ["rclpy", "lightning", "torchmetrics", "rosbags", "av", "transformers"]
    absent += ["sdcpc_ros", "sdcpc_core.data", "sdcpc_core.training"]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent}))  # None there makes the import fail
import sdcpc_core.streaming
from sdcpc_core import Segmenter
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_exist():
    assert [name for name in sdcpc_core.__all__ if not hasattr(sdcpc_core, name)] == []
    assert not hasattr(sdcpc_core, "no_such_name")


def test_editors_are_told_every_public_name():
    tree = ast.parse(Path(sdcpc_core.__file__).read_bytes())
    (type_checking,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {(alias.name, node.module) for node in type_checking.body for alias in node.names}
    assert told == {(name, f"sdcpc_core.{module}") for name, module in sdcpc_core._MODULE_OF.items()}
