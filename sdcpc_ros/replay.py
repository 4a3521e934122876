"""Plays a recorded camera to the running node over DDS and receives its answers, both at their own pace."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from sdcpc_ros.bag_io import stamp_of
from sdcpc_ros.conversions import NS_PER_S
from sdcpc_ros.node_process import NodeError
from sdcpc_ros.transport import large_image_environment

POLL_S = 0.05
"""Longest wait in one go, so that Ctrl-C and a dead node are noticed soon."""
SETTLE_S = 0.5
"""After both ends are seen: the other end may need a moment to see this one."""


@contextmanager
def isolated_ros(log_dir: str) -> Iterator[None]:
    """Let this process and those it starts keep to themselves on the network, and lose no large image.

    Args:
        log_dir: where ROS writes its log files.
    """
    variables = {
        **large_image_environment(),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_LOG_DIR": log_dir,
        # A user's own choice for the robot would lead elsewhere.
        "FASTDDS_BUILTIN_TRANSPORTS": None,
        "ROS_DISCOVERY_SERVER": None,
        "ROS_STATIC_PEERS": None,
    }
    before = {name: os.environ.get(name) for name in variables}
    _set_environment(variables)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@dataclass
class ReplayRun:
    """What a node made of the frames played to it.

    Attributes:
        sent: frames sent.
        first_bag_ns: time of recording of the first of them (ns).
        last_bag_ns: time of recording of the last (ns).
        lag_ms: how long after its time each frame was sent (ms); grows where this computer is too busy.
        latency_ms: from sending a frame to receiving its label, per answered frame (ms).
    """

    sent: int = 0
    first_bag_ns: int = 0
    last_bag_ns: int = 0
    lag_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)

    @property
    def rate_hz(self) -> float:
        """Mean rate at which the frames were recorded; 1 for a single frame."""
        seconds = (self.last_bag_ns - self.first_bag_ns) / NS_PER_S
        return (self.sent - 1) / seconds if seconds > 0 else 1.0

    @property
    def answered(self) -> int:
        """Frames whose label came back."""
        return len(self.latency_ms)

    @property
    def dropped(self) -> int:
        """Frames without an answer; the node takes the newest and leaves those it has no time for."""
        return self.sent - self.answered


class Replay:
    """A camera and a listener for one segmentation node; a context manager.

    Messages stay serialized on this side: next to the node, the player costs almost nothing.
    """

    def __init__(self, namespace: str, *, outputs: tuple[str, ...] = ("label", "overlay")) -> None:
        """Prepare to play.

        Args:
            namespace: where the node is, such as ``"/front"``; empty for the root.
            outputs: results to receive, names under ``segmentation/``; the label must be among them.
        """
        self._namespace = namespace
        self._outputs = outputs

    def __enter__(self) -> "Replay":
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("replay", context=self._context, namespace=self._namespace, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._camera = self._node.create_publisher(
            Image, "image", QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        )
        self._receive: Callable[[str, bytes], None] = lambda name, raw: None
        for name in self._outputs:
            self._node.create_subscription(
                Image,
                f"segmentation/{name}",
                lambda raw, name=name: self._receive(name, raw),
                QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE),
                raw=True,
            )
        self._state_of_node = self._node.create_client(GetState, "segmentation/get_state")
        return self

    def __exit__(self, *error) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait_until_active(self, timeout_s: float, check: Callable[[], None] = lambda: None) -> None:
        """Wait until the node is active and both sides know one another.

        Args:
            timeout_s: for machines that are slow or busy.
            check: called often; raises when waiting has become pointless.

        Raises:
            NodeError: the node is not there in time, or is there and not active.
        """
        deadline_s = time.monotonic() + timeout_s
        waiting_for = "the node to start"
        while time.monotonic() < deadline_s:
            check()
            self._spin_until(time.monotonic() + POLL_S)
            state = self._node_state()
            if state == "unconfigured":
                # The node answers only after it has tried to start itself.
                raise NodeError("the node could not configure itself")
            if state is not None:
                waiting_for = f"the node to become active (it is {state}) and for its topics"
            if state == "active" and self._connected():
                self._spin_until(time.monotonic() + SETTLE_S)
                return
        raise NodeError(f"waited {timeout_s:g} s for {waiting_for}")

    def _node_state(self) -> str | None:
        if not self._state_of_node.service_is_ready():
            return None
        future = self._state_of_node.call_async(GetState.Request())
        self._executor.spin_until_future_complete(future, timeout_sec=1.0)
        if not future.done():
            self._state_of_node.remove_pending_request(future)
            return None
        return future.result().current_state.label

    def _connected(self) -> bool:
        answers = (self._node.count_publishers(f"{self._namespace}/segmentation/{name}") for name in self._outputs)
        return self._camera.get_subscription_count() > 0 and all(answers)

    def play(
        self,
        images: Iterable[tuple[int, bytes]],
        on_answer: Callable[[str, int, bytes], None],
        *,
        linger_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> ReplayRun:
        """Send images at the pace they were recorded and receive what comes back.

        Args:
            images: time of recording (ns) and serialized ``sensor_msgs/Image``, in order.
            on_answer: called with the name of the output, the time of its arrival on the clock of the recording
                (ns), and the serialized image.
            linger_s: at the end, how long to wait after the last message for answers to the last frame.
            check: called often; raises when the node has died.
        """
        run = ReplayRun()
        sent_s_by_stamp: dict[int, float] = {}
        unanswered = set()
        started_s = heard_s = time.monotonic()

        def receive(name: str, raw: bytes) -> None:
            nonlocal heard_s
            heard_s = time.monotonic()
            stamp_ns = stamp_of(raw)
            if stamp_ns not in sent_s_by_stamp:
                return
            unanswered.discard((name, stamp_ns))
            if name == "label":
                run.latency_ms.append(1e3 * (heard_s - sent_s_by_stamp[stamp_ns]))
            on_answer(name, run.first_bag_ns + round((heard_s - started_s) * NS_PER_S), raw)

        self._receive = receive
        for bag_ns, raw in images:
            if not run.sent:
                run.first_bag_ns, started_s = bag_ns, time.monotonic()
            run.last_bag_ns = bag_ns
            due_s = started_s + (bag_ns - run.first_bag_ns) / NS_PER_S
            self._spin_until(due_s)
            check()
            stamp_ns = stamp_of(raw)
            # Newest wins: of what is still unanswered, only the last frame is sure of an answer.
            unanswered = {(name, stamp_ns) for name in self._outputs}
            heard_s = sent_s_by_stamp[stamp_ns] = time.monotonic()
            self._camera.publish(raw)
            run.lag_ms.append(1e3 * (heard_s - due_s))
            run.sent += 1
        while unanswered and time.monotonic() < heard_s + linger_s:
            check()
            self._executor.spin_once(timeout_sec=POLL_S)
        return run

    def _spin_until(self, due_s: float) -> None:
        while (left_s := due_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, POLL_S))
