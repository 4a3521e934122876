"""What the ROS 2 node costs and keeps, over DDS, beside the bare step of the same network in the same run.

python benchmarks/node.py                     # about seven minutes on an idle machine; anything else at work spoils it
python benchmarks/node.py --seconds 10        # a quick look
"""

import argparse
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import torch

from sdcpc_core.arguments import positive_number, size_hw
from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.labels import CITYSCAPES
from sdcpc_core.report import device_name, latency_ms, run_facts, write_report
from sdcpc_core.streaming import Segmenter, find_device
from sdcpc_ros.node_process import NodeProcess
from sdcpc_ros.transport import large_image_environment

NAMESPACE = "/bench"
NS_PER_S = 1_000_000_000
WARM_UP = 5
"""Frames that are not counted."""
EDGE_S = 2.0
"""What is compared at the beginning and at the end of a run."""
ANSWERED = re.compile(r"(\d+) of \d+ frames answered")
STALLED = f"""
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
rclpy.init()
node = Node("stalled")
node.create_subscription(Image, "{NAMESPACE}/segmentation/label", lambda message: print("heard", flush=True), 10)
rclpy.spin(node)
"""


@dataclass
class Run:
    """Frames sent to one camera topic and labels heard of it, by stamp (ns) on the steady clock (s).

    Attributes:
        sent_s: when each frame was sent.
        heard_s: when its label came to the reliable subscriber.
        best_effort: stamps that came to the best-effort subscriber.
        foreign: labels whose header is none of those sent.
    """

    sent_s: dict[int, float] = field(default_factory=dict)
    heard_s: dict[int, float] = field(default_factory=dict)
    best_effort: set[int] = field(default_factory=set)
    foreign: int = 0

    def latencies_ms(self, *, from_s: float = 0.0, until_s: float = math.inf) -> list[float]:
        """Latencies of the answers that were heard between two times (s)."""
        return [1e3 * (at - self.sent_s[stamp]) for stamp, at in self.heard_s.items() if from_s <= at < until_s]


class Cameras:
    """Sends frames on camera topics and hears their labels, all serialized: it costs next to nothing."""

    def __init__(self, names: tuple[str, ...], frame_size_hw: tuple[int, int]) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.serialization import serialize_message
        from sensor_msgs.msg import Image

        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self.node = rclpy.create_node("cameras", context=self._context, namespace=NAMESPACE)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.runs = [Run() for _ in names]
        self._publishers = [self.node.create_publisher(Image, f"{name}image", QoSProfile(depth=5)) for name in names]
        for name, run in zip(names, self.runs, strict=True):
            for reliability, hear in (
                (ReliabilityPolicy.RELIABLE, self._hear_reliable),
                (ReliabilityPolicy.BEST_EFFORT, self._hear_best_effort),
            ):
                qos = QoSProfile(depth=100, reliability=reliability)
                topic = f"{name}segmentation/label"
                self.node.create_subscription(Image, topic, lambda raw, r=run, h=hear: h(r, raw), qos, raw=True)
        height, width = frame_size_hw
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        image.data.frombytes(pixels.tobytes())
        image.header.frame_id = "camera"
        self._raw = bytearray(serialize_message(image))

    def wait_for_node(self, timeout_s: float = 180.0) -> None:
        """Wait until every camera topic has its subscriber and every label topic its publisher."""
        deadline_s = time.monotonic() + timeout_s
        while not all(publisher.get_subscription_count() for publisher in self._publishers):
            if time.monotonic() > deadline_s:
                raise SystemExit("the node did not start; its log says why")
            self._executor.spin_once(timeout_sec=0.1)
        self.spin(2.0)

    def send(self, index: int) -> int:
        """Send a frame of a camera, stamped with the time; gives its stamp (ns)."""
        # Of stamps nearer to each other than those of a camera the node would keep no frames as references.
        stamp_ns = time.monotonic_ns()
        # The header comes first: four bytes of encoding, then the stamp.
        struct.pack_into("<iI", self._raw, 4, *divmod(stamp_ns, NS_PER_S))
        self.runs[index].sent_s[stamp_ns] = time.monotonic()
        self._publishers[index].publish(bytes(self._raw))
        return stamp_ns

    def count_anew(self) -> Run:
        """Forget what the first camera sent and heard; nothing is under way after ``ask`` and ``play``."""
        run = self.runs[0]
        for seen in (run.sent_s, run.heard_s, run.best_effort):
            seen.clear()
        return run

    def play(self, rate_hz: float, seconds: float) -> None:
        """Send frames of every camera at a rate, one camera after the other within a period, and hear answers."""
        started_s, count = time.monotonic(), len(self.runs)
        for number in range(round(rate_hz * seconds) * count):
            self.spin(started_s + number / (rate_hz * count) - time.monotonic())
            self.send(number % count)
        self.spin(2.0)

    def ask(self, number: int, pause_s: float) -> None:
        """Send frames of the first camera one after the other, each a pause (s) after the answer to the one before."""
        for _ in range(number):
            stamp_ns, deadline_s = self.send(0), time.monotonic() + 10
            while stamp_ns not in self.runs[0].heard_s and time.monotonic() < deadline_s:
                self._executor.spin_once(timeout_sec=0.05)
            self.spin(pause_s)

    def spin(self, seconds: float) -> None:
        """Hear for a while."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def close(self) -> None:
        """Leave the network."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _hear_reliable(self, run: Run, raw: bytes) -> None:
        stamp_ns = self._stamp_of(run, raw)
        run.heard_s.setdefault(stamp_ns, time.monotonic())

    def _hear_best_effort(self, run: Run, raw: bytes) -> None:
        run.best_effort.add(self._stamp_of(run, raw))

    @staticmethod
    def _stamp_of(run: Run, raw: bytes) -> int:
        sec, nanosec = struct.unpack_from("<iI", raw, 4)
        stamp_ns = sec * NS_PER_S + nanosec
        run.foreign += stamp_ns not in run.sent_s or b"camera\0" not in raw[:32]
        return stamp_ns


@contextmanager
def cameras_and_node(
    checkpoint: Path, log: Path, arguments: argparse.Namespace, names: tuple[str, ...] = ("",)
) -> Iterator[Cameras]:
    """A node and its cameras, whose topics begin with the names."""
    parameters = {"checkpoint": str(checkpoint), "device": arguments.device, "precision": arguments.precision}
    if names != ("",):
        parameters["cameras"] = f"[{', '.join(name.rstrip('/') for name in names)}]"
    cameras = Cameras(names, arguments.size)
    try:
        with NodeProcess(log, parameters, namespace=NAMESPACE):
            cameras.wait_for_node()
            yield cameras
    finally:
        cameras.close()


@dataclass(frozen=True)
class BareStep:
    """What the network takes without ROS (ms), in a process like that of the node.

    Attributes:
        step_ms: of steps whose references were prepared, as those of frames that come to an idle node.
        prepare_ms: of the preparation after each.
    """

    step_ms: list[float]
    prepare_ms: list[float]

    def __add__(self, other: "BareStep") -> "BareStep":
        return BareStep(self.step_ms + other.step_ms, self.prepare_ms + other.prepare_ms)

    @property
    def frame_ms(self) -> list[float]:
        """All the work for a frame, which bounds the rate."""
        return [sum(both) for both in zip(self.step_ms, self.prepare_ms, strict=True)]


def bare_step(checkpoint: Path, arguments: argparse.Namespace, number: int) -> BareStep:
    """Time steps of a stream, each prepared before its frame comes, as the node does it."""
    torch.set_flush_denormal(True)
    segmenter = Segmenter.from_checkpoint(checkpoint, device=arguments.device, precision=arguments.precision)
    stream, frame = segmenter.stream(), np.random.default_rng(0).integers(0, 256, (*arguments.size, 3), dtype=np.uint8)
    measured = BareStep([], [])
    for _ in range(WARM_UP + number):
        began_s = time.perf_counter()
        stream.step(frame, time.monotonic_ns())
        answered_s = time.perf_counter()
        stream.prepare()
        if segmenter.device.type == "cuda":
            torch.cuda.synchronize(segmenter.device)
        measured.step_ms.append(1e3 * (answered_s - began_s))
        measured.prepare_ms.append(1e3 * (time.perf_counter() - answered_s))
    return BareStep(measured.step_ms[WARM_UP:], measured.prepare_ms[WARM_UP:])


def measure(checkpoint: Path, folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, object]]:
    """Every figure with what it says, as soon as it is known."""
    steps = max(20, round(arguments.seconds * 2))
    bare = bare_step(checkpoint, arguments, steps)
    # Long enough for the node to have prepared the references before the next frame comes.
    pause_s = 0.02 + 2e-3 * median(bare.prepare_ms)

    with cameras_and_node(checkpoint, folder / "asked.log", arguments) as cameras:
        cameras.ask(WARM_UP, pause_s)
        run = cameras.count_anew()
        cameras.ask(steps, pause_s)
        yield "asked one by one: answered", f"{len(run.heard_s)} of {len(run.sent_s)}"
        yield "asked one by one: latency over DDS (ms)", latency_ms(run.latencies_ms())
        in_node_ms = latency_parts(cameras)
        yield "of it in the node, as it says itself (ms)", in_node_ms
        yield "node: wait + convert + publish, medians (ms)", own_parts_ms(in_node_ms)

    with cameras_and_node(checkpoint, folder / "rate.log", arguments) as cameras:
        cameras.play(30.0, 5.0)
        run = cameras.count_anew()
        started_s = time.monotonic()
        cameras.play(30.0, arguments.seconds)
        last_s = max(run.heard_s.values())
        answers_hz = len(run.heard_s) / (last_s - started_s)
        yield "30 Hz: answers per second", round(answers_hz, 2)
        first = run.latencies_ms(until_s=started_s + EDGE_S)
        yield (
            "30 Hz: latency in the first seconds and in the last (ms)",
            [
                latency_ms(first)["median"],
                latency_ms(run.latencies_ms(from_s=last_s - EDGE_S))["median"],
            ],
        )
        yield "30 Hz: labels whose header was not sent", run.foreign
        stalled_hz = rate_with_stalled_subscriber(cameras, arguments.seconds / 3)
        yield "30 Hz, while a reliable subscriber does not read: answers per second", round(stalled_hz, 2)

    bare += bare_step(checkpoint, arguments, steps)
    step_ms = median(bare.step_ms)
    yield "bare step with prepared references, before and after (ms)", latency_ms(bare.step_ms)
    yield "bare preparation of the references (ms)", latency_ms(bare.prepare_ms)
    yield (
        "30 Hz: answers over what bare step and preparation can do",
        round(answers_hz * median(bare.frame_ms) / 1e3, 3),
    )
    if in_node_ms:
        overhead_ms = in_node_ms["latency, median (ms)"] - step_ms
        yield "node: from receiving to published, over the bare step (ms)", round(overhead_ms, 1)
        yield "as a share of the bare step", round(overhead_ms / step_ms, 3)

    names = tuple(f"camera_{number}/" for number in range(6))
    with cameras_and_node(checkpoint, folder / "six.log", arguments, names) as cameras:
        cameras.play(10.0, arguments.seconds)
        answers = [len(run.heard_s) for run in cameras.runs]
        yield "six cameras at 10 Hz: answers of each", answers
        fair = sum(answers) / len(answers)
        yield "largest distance from the fair share", round(max(abs(count / fair - 1) for count in answers), 3)
        best_effort = sum(len(run.best_effort) for run in cameras.runs)
    published = sum(map(int, ANSWERED.findall((folder / "six.log").read_text())))
    yield "labels published, heard reliably, heard by best effort", [published, sum(answers), best_effort]


def latency_parts(cameras: Cameras) -> dict[str, float]:
    """Latencies of the last ten seconds as the node tells them (ms)."""
    from diagnostic_msgs.msg import DiagnosticArray

    told: dict[str, float] = {}

    def take(array: DiagnosticArray) -> None:
        for status in array.status:
            told.update({pair.key: float(pair.value) for pair in status.values if pair.key.startswith("latency")})

    cameras.node.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
    cameras.spin(3.0)
    return told


def own_parts_ms(in_node_ms: dict[str, float]) -> float | None:
    """What the node adds to the network (ms), of the latencies that it tells; None where it told nothing."""
    own = ("wait", "convert", "publish")
    return round(sum(in_node_ms[f"latency: {part}, median (ms)"] for part in own), 2) if in_node_ms else None


def rate_with_stalled_subscriber(cameras: Cameras, seconds: float) -> float:
    """Answers per second at 30 Hz while a reliable subscriber does not read."""
    (run,) = cameras.runs
    with subprocess.Popen([sys.executable, "-c", STALLED], stdout=subprocess.PIPE, text=True) as stalled:
        try:
            while cameras.node.count_subscribers(f"{NAMESPACE}/segmentation/label") < 3:
                cameras.spin(0.2)
            cameras.play(5.0, 3.0)
            stalled.send_signal(signal.SIGSTOP)
            before, started_s = len(run.heard_s), time.monotonic()
            cameras.play(30.0, seconds)
            return (len(run.heard_s) - before) / (max(run.heard_s.values()) - started_s)
        finally:
            stalled.kill()


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="sdcpc_mit_b0", help="random weights, 19 classes (default: %(default)s)")
    parser.add_argument("--size", type=size_hw, default=(480, 640), help="of the images (default: 480x640)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--seconds", type=positive_number, default=60.0, help="of each part (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        folder = Path(workspace)
        os.environ |= {
            **large_image_environment(),
            "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
            "ROS_LOG_DIR": str(folder / "log"),
        }
        torch.manual_seed(0)
        header = CheckpointHeader(arguments.model, {}, CITYSCAPES, arguments.size)
        checkpoint = folder / "random.safetensors"
        save_checkpoint(checkpoint, header.build().eval(), header)
        figures = {}
        for name, figure in measure(checkpoint, folder, arguments):
            figures[name] = figure
            print(f"{name}: {json.dumps(figure)}", flush=True)
    if arguments.json:
        device = device_name(find_device(arguments.device))
        write_report(arguments.json, {**run_facts(vars(arguments)), "device": device, **figures})


if __name__ == "__main__":
    main()
