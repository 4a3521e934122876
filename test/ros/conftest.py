"""A node in a process of its own, and a peer that talks to it over DDS."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sdcpc_ros.transport import large_image_environment

TIMEOUT_S = 60.0
"""For machines that are slow or busy; nothing here waits that long when all is well."""
WORKING_SIZE_HW = (64, 96)


@pytest.fixture(scope="session")
def scene() -> Callable[..., np.ndarray]:
    """Maker of images: blobs of colour, (H, W, 3) RGB."""
    return draw_blobs


def draw_blobs(size_hw: tuple[int, int] = (120, 160), seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((size_hw[0] // 4, size_hw[1] // 4, 1), np.uint8))


@pytest.fixture(scope="session", autouse=True)
def own_domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep parallel test runs from meeting on the network."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    patch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    for name, value in large_image_environment().items():
        patch.setenv(name, value)
    patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Maker of checkpoints with random weights and a small working size, by the name of their model."""
    import torch

    from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
    from sdcpc_core.labels import CAMVID

    def make(model_name: str) -> Path:
        torch.manual_seed(0)
        header = CheckpointHeader(model_name, {}, CAMVID, WORKING_SIZE_HW)
        path = tmp_path_factory.mktemp("checkpoint") / f"{model_name}.safetensors"
        save_checkpoint(path, header.build().eval(), header)
        return path

    return make


@pytest.fixture(scope="session")
def small_checkpoint(random_checkpoint: Callable[[str], Path]) -> Path:
    """The checkpoint that most tests run."""
    return random_checkpoint("sdcpc_mit_b0")


@pytest.fixture
def labels_of() -> Iterator[Callable[[Path, np.ndarray], np.ndarray]]:
    """Label map of the first frame of a checkpoint's stream, computed here."""
    import torch

    from sdcpc_core.streaming import Segmenter

    def label(checkpoint: Path, frame: np.ndarray) -> np.ndarray:
        return Segmenter.from_checkpoint(checkpoint, device="cpu").stream().step(frame, stamp_ns=1).label_map

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield label
    torch.set_num_threads(threads)


class NodeProcess:
    """``segmentation_node`` in a process of its own.

    Attributes:
        process: the running process.
        log_path: what it writes to its console.
    """

    def __init__(self, log_path: Path, *parameters: str, namespace: str = "/", remapped: tuple[str, ...] = ()) -> None:
        self.log_path = log_path
        command = [sys.executable, "-m", "sdcpc_ros.segmentation_node", "--ros-args"]
        for rule in (f"__ns:={namespace}", *remapped):
            command += ["-r", rule]
        for parameter in parameters:
            command += ["-p", parameter]
        with log_path.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.log:
            assert self.process.poll() is None, f"the node ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"no {text!r} in the node's log:\n{self.log}"
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGINT, timeout_s: float = TIMEOUT_S) -> int:
        """Send the signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@pytest.fixture(scope="session")
def start_node(own_domain: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., contextmanager]:
    """Context manager that runs the node with ``-p`` parameters, in a namespace and remapped if that is said."""
    pytest.importorskip("rclpy")

    @contextmanager
    def start(*parameters: str, **options: str | tuple[str, ...]) -> Iterator[NodeProcess]:
        node = NodeProcess(tmp_path_factory.mktemp("node") / "console.log", *parameters, **options)
        try:
            yield node
        except BaseException:
            print(node.log)  # which pytest shows with the failure
            raise
        finally:
            # Gently, or others on the network would go on believing in it for a while.
            try:
                node.end()
            finally:
                node.process.kill()

    return start


class Peer:
    """A camera and a listener on the other side of DDS.

    Attributes:
        answers: messages received, by topic, oldest first.
    """

    def __init__(self, context) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        self.node = Node("peer", context=context)
        self.answers: dict[str, list] = {}
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._publishers = {}
        self._next_stamp_ns = 1_000_000_000

    def listen(self, *topics: str, message_class=None, qos=100) -> None:
        """Receive what is published on topics; images unless another type is named."""
        from sensor_msgs.msg import Image

        for topic in topics:
            received = self.answers.setdefault(topic, [])
            self.node.create_subscription(message_class or Image, topic, received.append, qos)

    def publish(self, topic: str, message) -> None:
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, 10)
        self._publishers[topic].publish(message)

    def reliability_of_subscriptions(self) -> list[str]:
        """Of all subscriptions to ``image``."""
        return [info.qos_profile.reliability.name for info in self.node.get_subscriptions_info_by_topic("/image")]

    def header(self, after_s: float = 0.1):
        """A header stamped ``after_s`` later than the one before."""
        from std_msgs.msg import Header

        from sdcpc_ros.conversions import ns_to_stamp

        self._next_stamp_ns += round(after_s * 1e9)
        return Header(stamp=ns_to_stamp(self._next_stamp_ns), frame_id="front_camera_optical")

    def send(
        self,
        pixels: np.ndarray,
        encoding: str = "rgb8",
        *,
        topic: str = "image",
        header=None,
        after_s: float = 0.1,
        padding: int = 0,
    ):
        """Publish an image with a header, by default a new one, and return it."""
        from sensor_msgs.msg import Image

        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        image = Image(
            header=header or self.header(after_s),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            step=rows.shape[1],
        )
        image.data.frombytes(rows.tobytes())
        self.publish(topic, image)
        return image

    def spin_until(self, done: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
        """Receive until ``done``; False when the time runs out first."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def answer_to(self, image, topic: str = "segmentation/label"):
        """The message on ``topic`` with the header of ``image``."""
        found = []

        def arrived() -> bool:
            found[:] = [answer for answer in self.answers[topic] if answer.header == image.header]
            return bool(found)

        assert self.spin_until(arrived), f"no answer on {topic} to {image.header}"
        return found[0]

    def greet(self, pixels: np.ndarray, *, topics: tuple[str, ...] = ("image",)) -> None:
        """Send images until every topic listened to has answered: all ends have found one another."""
        for received in self.answers.values():
            received.clear()
        for _ in range(int(TIMEOUT_S * 3)):
            for topic in topics:
                self.send(pixels, topic=topic)
            if self.spin_until(lambda: all(self.answers.values()), timeout_s=1 / 3):
                break
        else:
            pytest.fail(f"no answer on {[topic for topic, received in self.answers.items() if not received]}")
        for received in self.answers.values():
            received.clear()

    def call(self, service_class, name: str, request):
        """Call a service and return its response."""
        client = self.node.create_client(service_class, name)
        assert client.wait_for_service(TIMEOUT_S), f"no service {name}"
        future = client.call_async(request)
        assert self.spin_until(future.done), f"no response from {name}"
        return future.result()

    def state(self) -> str:
        """Life-cycle state of the node."""
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, "segmentation/get_state", GetState.Request()).current_state.label

    def transition(self, label: str) -> bool:
        """Ask the node to configure, activate, deactivate or clean up."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        number = getattr(Transition, f"TRANSITION_{label.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        return self.call(ChangeState, "segmentation/change_state", request).success

    def set_parameter(self, name: str, value, *, node: str = "segmentation"):
        """Set a parameter of the node; result with ``successful`` and ``reason``."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def destroy(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture(scope="session")
def ros_context(own_domain: None) -> Iterator:
    """A ROS context of the tests' own."""
    rclpy = pytest.importorskip("rclpy")
    from rclpy.node import Node

    context = rclpy.Context()
    rclpy.init(context=context)
    # The DDS participant lives as long as its context has a node: without this one each peer would make its own.
    anchor = Node("anchor", context=context)
    yield context
    anchor.destroy_node()
    context.try_shutdown()


@pytest.fixture
def peer(ros_context) -> Iterator[Peer]:
    """A camera and listener that have not yet found the node."""
    peer = Peer(ros_context)
    yield peer
    peer.destroy()
