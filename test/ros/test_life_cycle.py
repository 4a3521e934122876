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
    code = f"import sys; sys.modules[{missing!r}] = None; import sdcpc_ros.segmentation_node"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MissingDependencyError" in done.stderr.splitlines()[-1]
    assert f"no module {missing!r}" in done.stderr.splitlines()[-1]
    assert "pip install" in done.stderr.splitlines()[-1]
