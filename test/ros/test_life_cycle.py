"""The life of the node's process: by hand, with broken settings, without its libraries, and its end."""

import signal
import subprocess
import sys

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
