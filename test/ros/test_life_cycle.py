"""The life of the node's process: by hand, with broken settings, without its libraries, and its end."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def test_life_cycle_by_hand_and_interrupt(start_node, small_checkpoint, peer, scene):
    with start_node(f"checkpoint:={small_checkpoint}", "device:=cpu", "autostart:=false", "max_gap_s:=3") as node:
        assert peer.state() == "unconfigured"
        for _ in range(2):
            assert peer.transition("configure")
            assert peer.transition("activate")
            assert peer.transition("deactivate")
            assert peer.transition("cleanup")
        assert peer.transition("configure")
        assert peer.transition("activate")
        # Nobody listens: frames are received, not computed.
        assert peer.spin_until(lambda: peer.reliability_of_subscriptions() == ["BEST_EFFORT"])
        while "nothing is computed" not in node.log:
            peer.send(scene())
            peer.spin_until(lambda: False, timeout_s=0.2)
        peer.listen("segmentation/label")
        peer.greet(scene())
        assert node.end(signal.SIGINT) == 0, node.log
        assert "Traceback" not in node.log
        assert "frames answered" in node.log


def test_broken_checkpoint_leaves_the_node_unconfigured_and_says_why(start_node, small_checkpoint, peer, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with start_node(f"checkpoint:={broken}", "device:=cpu", "overlay_alpha:=7") as node:
        node.wait_for_log("cannot configure: parameter overlay_alpha is 7.0; it must be 0 to 1")
        assert peer.set_parameter("overlay_alpha", 0.3).successful
        assert not peer.transition("configure")
        node.wait_for_log(str(broken))
        assert peer.state() == "unconfigured"
        assert peer.set_parameter("checkpoint", str(small_checkpoint)).successful
        assert peer.transition("configure")
        assert peer.transition("activate")
        assert peer.state() == "active"
        assert node.end(signal.SIGTERM) == 0, node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize("missing", ["rclpy", "torch"])
def test_without_ros_or_torch_the_import_says_what_to_install(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from sdcpc_ros.segmentation_node import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("segmentation_node: error: ")
    assert f"no module {missing!r}" in line
    assert "pip install" in line


def test_interrupt_while_importing_is_quiet():
    pytest.importorskip("rclpy")
    code = (
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch':\n"
        "            print('importing', flush=True)\n"
        "            time.sleep(30)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from sdcpc_ros.segmentation_node import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_breaks_off_the_loading_of_the_network(number):
    pytest.importorskip("rclpy")
    code = (
        "import time\n"
        "from sdcpc_core.streaming import Segmenter\n"
        "def slow(*arguments, **options):\n"
        "    print('loading', flush=True)\n"
        "    time.sleep(60)\n"
        "    print('loaded', flush=True)\n"
        "Segmenter.from_checkpoint = slow\n"
        "from sdcpc_ros.segmentation_node import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        assert process.stdout.read() == ""
        assert process.wait() == 0


def test_the_end_waits_for_no_library_and_leaves_no_shared_memory(start_node, small_checkpoint, peer, tmp_path):
    # What the interpreter does when it ends, PyTorch makes slow; here it says so instead.
    hooks = tmp_path / "sitecustomize.py"
    hooks.write_text("import atexit\natexit.register(print, 'interpreter ends')\n")
    before = segments(Path("/dev/shm").glob("fastdds_*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        with start_node(f"checkpoint:={small_checkpoint}", "device:=cpu", "cpu_threads:=1") as node:
            assert peer.spin_until(lambda: peer.reliability_of_subscriptions() == ["BEST_EFFORT"])
            mapped = segments(Path(f"/proc/{node.process.pid}/maps").read_text().split())
            assert node.end(signal.SIGINT) == 0, node.log
    assert "interpreter ends" not in node.log
    assert [segment for segment in mapped - before if Path(segment).exists()] == []


def segments(paths) -> set[str]:
    """Those of the paths that are memory in which Fast DDS keeps messages."""
    return {str(path) for path in paths if re.fullmatch(r"/dev/shm/fastdds_[0-9a-f]{16}", str(path))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM] * 3)
def test_an_idle_node_ends_soon(start_node, small_checkpoint, peer, scene, number):
    with start_node(f"checkpoint:={small_checkpoint}", "device:=cpu", "cpu_threads:=1") as node:
        peer.listen("segmentation/label")
        peer.greet(scene())
        # Nothing comes any more: whatever ends the node now is the signal.
        peer.spin_until(lambda: False, timeout_s=1.0)
        assert node.end(number, timeout_s=8) == 0, node.log
        assert "frames answered" in node.log
        assert "Exception" not in node.log


THREADS = """
import sys, threading, time
import rclpy, torch
from sdcpc_ros.node import SegmentationNode

told, set_num_threads = [], torch.set_num_threads
def spy(number):
    told.append((threading.current_thread().name, number))
    set_num_threads(number)
torch.set_num_threads = spy
rclpy.init(args=sys.argv)
node = SegmentationNode()
node.start()
while len(told) < 2:
    time.sleep(0.01)
print(told)
node.destroy_node()
"""


def test_only_the_worker_has_a_team_of_threads(small_checkpoint):
    parameters = ["-p", f"checkpoint:={small_checkpoint}", "-p", "device:=cpu", "-p", "cpu_threads:=3"]
    command = [sys.executable, "-c", THREADS, "--ros-args", *parameters]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == str([("MainThread", 1), ("segmentation_worker", 3)])
