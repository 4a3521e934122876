"""A node on simulated time that takes compressed images, and one subscriber that has stopped reading."""

import select
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

STALLED = """
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
rclpy.init()
node = Node("stalled")
node.create_subscription(Image, "segmentation/label", lambda message: print("heard", flush=True), 10)
rclpy.spin(node)
"""


@pytest.fixture(scope="module")
def node(start_node, small_checkpoint):
    transport = ["image_transport:=compressed", "use_sim_time:=true", "max_gap_s:=100.0"]
    reliable = "qos_overrides./image/compressed.subscription.reliability:=reliable"
    with start_node(f"checkpoint:={small_checkpoint}", "device:=cpu", "cpu_threads:=1", *transport, reliable) as node:
        node.wait_for_log("11 classes of 'camvid'")
        yield node


def send(peer, frame: np.ndarray, suffix: str = ".png"):
    from sensor_msgs.msg import CompressedImage

    data = cv2.imencode(suffix, frame[..., ::-1])[1].tobytes()
    image = CompressedImage(header=peer.header(), format=suffix[1:], data=data)
    peer.publish("image/compressed", image)
    return image


def greet(peer, frame: np.ndarray) -> None:
    def answered() -> bool:
        send(peer, frame)
        return peer.spin_until(lambda: bool(peer.answers["segmentation/label"]), timeout_s=1 / 3)

    assert any(answered() for _ in range(180))


def test_png_gives_the_labels_of_its_pixels_and_jpeg_is_taken_as_well(node, peer, scene, labels_of, small_checkpoint):
    from std_srvs.srv import Trigger

    frame = scene(seed=1)
    peer.listen("segmentation/label")
    greet(peer, frame)
    assert peer.call(Trigger, "segmentation/reset", Trigger.Request()).success
    answer = peer.answer_to(send(peer, frame))
    assert bytes(answer.data) == labels_of(small_checkpoint, frame).tobytes()
    assert peer.answer_to(send(peer, frame, ".jpg")).height == len(frame)


def test_a_clock_that_jumps_back_starts_the_streams_anew(node, peer, scene):
    from builtin_interfaces.msg import Time
    from rosgraph_msgs.msg import Clock

    peer.listen("segmentation/label")
    greet(peer, scene())

    def told() -> bool:
        for sec in (200, 201, 100):
            peer.publish("clock", Clock(clock=Time(sec=sec)))
            peer.spin_until(lambda: False, timeout_s=0.1)
        return "/clock jumped back by 101.000 s: streams start anew" in node.log

    assert any(told() for _ in range(60)), node.log
    peer.answer_to(send(peer, scene()))


def test_a_reliable_subscriber_that_stops_reading_does_not_stop_the_answers(node, peer, scene):
    frame = scene((480, 640))
    peer.listen("segmentation/label")
    with subprocess.Popen([sys.executable, "-c", STALLED], stdout=subprocess.PIPE, text=True) as stalled:
        try:
            peer.spin_until(lambda: peer.node.count_subscribers("segmentation/label") == 2)
            greet(peer, frame)

            def heard() -> bool:
                # The node may know the other subscriber later than the peer does.
                peer.answer_to(send(peer, frame))
                return bool(select.select([stalled.stdout], [], [], 0.2)[0])

            assert any(heard() for _ in range(60))
            stalled.send_signal(signal.SIGSTOP)
            for _ in range(30):
                peer.answer_to(send(peer, frame))
        finally:
            stalled.kill()
