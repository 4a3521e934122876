"""Plays a recorded camera to the running node over DDS and receives its answers, both at their own pace."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from sdcpc_ros.bag_io import stamp_of
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.conversions import NS_PER_S, ns_to_stamp
from sdcpc_ros.node_process import NodeError
from sdcpc_ros.transport import large_image_environment

POLL_S = 0.05
"""Longest wait in one go, so that Ctrl-C and a dead node are noticed soon."""
CLOCK_PERIOD_S = 0.01
"""How often the time is told between two frames."""
SETTLE_S = 0.5
"""After both ends are seen: the other end may need a moment to see this one."""
FACTS_TIMEOUT_S = 5.0
"""The node tells of itself every second."""


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


class Player:
    """A clock, a camera and a listener for one segmentation node; a context manager.

    Messages stay serialized on this side: next to the node, the player costs almost nothing.

    Attributes:
        node_facts: what the node last told of itself on ``/diagnostics``.
    """

    def __init__(self, namespace: str, image_topic: str, *, outputs: tuple[str, ...] = ("label", "overlay")) -> None:
        """Prepare to play.

        Args:
            namespace: where the node is, such as ``"/front"``; empty for the root.
            image_topic: where the node listens; relative to the namespace, or absolute.
            outputs: results to receive, names under ``segmentation/``; the label must be among them.
        """
        self._namespace = namespace
        self._image_topic = image_topic
        self._outputs = outputs
        self.node_facts: dict[str, str] = {}

    def __enter__(self) -> "Player":
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("player", context=self._context, namespace=self._namespace, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._name = f"{self._node.get_namespace().rstrip('/')}/segmentation"
        self._camera = self._node.create_publisher(
            Image, self._image_topic, QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        )
        self._clock = self._node.create_publisher(Clock, "/clock", 10)
        self._receive: Callable[[str, bytes], None] = lambda name, raw: None
        for name in self._outputs:
            self._node.create_subscription(
                Image,
                f"segmentation/{name}",
                lambda raw, name=name: self._receive(name, raw),
                QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE),
                raw=True,
            )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._hear_facts, 10)
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
        waiting_for = f"the node {self._name} to start"
        while time.monotonic() < deadline_s:
            check()
            self._spin_until(time.monotonic() + POLL_S)
            state = self._node_state()
            if state == "unconfigured":
                # The node answers only after it has tried to start itself.
                raise NodeError("the node could not configure itself")
            if state is not None:
                waiting_for = f"the node {self._name} to become active (it is {state}) and for its topics"
            if state == "active" and self._connected():
                self._spin_until(time.monotonic() + SETTLE_S)
                return
        raise NodeError(f"waited {timeout_s:g} s for {waiting_for}")

    def wait_for_facts(self) -> None:
        """Listen until the node has told on which device it runs what, or for some seconds."""
        deadline_s = time.monotonic() + FACTS_TIMEOUT_S
        while "device" not in self.node_facts and time.monotonic() < deadline_s:
            self._spin_until(time.monotonic() + POLL_S)

    def _hear_facts(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == self._name:
                self.node_facts = {pair.key: pair.value for pair in status.values}

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
        answers = (self._node.count_publishers(f"segmentation/{name}") for name in self._outputs)
        return self._camera.get_subscription_count() > 0 and all(answers)

    def play(
        self,
        images: Iterable[tuple[int, bytes]],
        on_answer: Callable[[str, int, bytes], None],
        *,
        rate: float = 1.0,
        linger_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> CameraRun:
        """Send images at the pace they were recorded, with the time of the recording on ``/clock``, and listen.

        Args:
            images: time of recording (ns) and serialized ``sensor_msgs/Image``, in order.
            on_answer: called with the name of the output, the time of its arrival on the clock of the recording
                (ns), and the serialized image.
            rate: times as fast as recorded.
            linger_s: at the end, how long to wait after the last message for answers to the last frame.
            check: called often; raises when the node has died.
        """
        run = CameraRun()
        # By stamp: the time of recording (ns), and when it was sent (s). A loop gives the stamps anew.
        sent: dict[int, tuple[int, float]] = {}
        unanswered = set()
        first_ns, started_s = 0, time.monotonic()
        heard_s = started_s

        def now_ns() -> int:
            return first_ns + round((time.monotonic() - started_s) * rate * NS_PER_S)

        def receive(name: str, raw: bytes) -> None:
            nonlocal heard_s
            heard_s = time.monotonic()
            stamp_ns = stamp_of(raw)
            if stamp_ns not in sent:
                return
            unanswered.discard((name, stamp_ns))
            bag_ns, sent_s = sent[stamp_ns]
            if name == "label":
                run.answers.append((bag_ns, 1e3 * (heard_s - sent_s)))
            on_answer(name, now_ns(), raw)

        self._receive = receive
        for bag_ns, raw in images:
            if not run.sent_ns:
                first_ns, started_s = bag_ns, time.monotonic()
            due_s = started_s + (bag_ns - first_ns) / NS_PER_S / rate
            self._wait_until(due_s, now_ns)
            check()
            stamp_ns = stamp_of(raw)
            # Newest wins: of what is still unanswered, only the last frame is sure of an answer.
            unanswered = {(name, stamp_ns) for name in self._outputs}
            self._tell_time(bag_ns)
            heard_s = time.monotonic()
            sent[stamp_ns] = bag_ns, heard_s
            run.sent_ns.append(bag_ns)
            self._camera.publish(raw)
            run.lag_ms.append(1e3 * (heard_s - due_s))
        while unanswered and time.monotonic() < heard_s + linger_s:
            check()
            self._executor.spin_once(timeout_sec=POLL_S)
        return run

    def _wait_until(self, due_s: float, now_ns: Callable[[], int]) -> None:
        """Listen until a moment, telling the time on the way."""
        while (left_s := due_s - time.monotonic()) > CLOCK_PERIOD_S:
            self._spin_until(time.monotonic() + min(left_s - CLOCK_PERIOD_S / 2, CLOCK_PERIOD_S))
            self._tell_time(now_ns())
        self._spin_until(due_s)
        # Late or not, what has arrived is received now.
        for _ in self._outputs:
            self._executor.spin_once(timeout_sec=0)

    def _tell_time(self, bag_ns: int) -> None:
        self._clock.publish(Clock(clock=ns_to_stamp(bag_ns)))

    def _spin_until(self, due_s: float) -> None:
        while (left_s := due_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, POLL_S))
