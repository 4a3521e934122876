"""A recorded drive, offline and live: figures side by side, the same bytes twice, speed beside the bare stream, memory.

python benchmarks/drive.py figures --images DIR/val --labels DIR/valannot [--precision bf16]
python benchmarks/drive.py memory [--minutes 10]

The first makes a bag of a folder of images at 15 Hz; on CamVid val its Markdown is the README's. The second labels a
synthetic bag of more than 2 GB and makes its report, and prints the memory of the process as it goes on.
"""

import argparse
import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sdcpc_core.arguments import add_segmenter_arguments, positive_number
from sdcpc_core.report import run_facts
from sdcpc_core.streaming import Segmenter
from sdcpc_core.video import START_NS, read_video
from sdcpc_ros.bag import bag
from sdcpc_ros.bag_io import IMAGE, image_message, standard_types
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.conversions import ns_to_stamp
from sdcpc_ros.demo_source import CAMERA_TOPIC, record_video
from sdcpc_ros.drive_results import judge
from sdcpc_ros.labelling import RealTime, label_bag
from sdcpc_ros.replay import replay

LABEL_TOPIC = "/segmentation/label"
ROUNDS = 3
SIZE_HW, RATE_HZ = (360, 480), 15
FIGURES = {
    "frames_answered": "answered",
    "frames_dropped": "dropped",
    "mIoU": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mVC8": "mVC8",
    "mVC8_strict": "mVC8 strict",
    "mVC8_windows": "its windows",
    "mVC16": "mVC16",
    "mVC16_strict": "mVC16 strict",
    "mVC16_windows": "its windows",
}


def figures(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the figures of a drive offline, simulated and live, and how the offline run compares with the stream."""
    drive = folder / "drive.mcap"
    record_video(drive, arguments.images)
    options = ["--device", arguments.device, "--precision", arguments.precision]
    if arguments.checkpoint:
        options += ["--checkpoint", str(arguments.checkpoint)]
    judged = [*options, "--labels", str(arguments.labels)]
    reports: dict[str, dict[str, Any]] = {}
    digests, speeds, stream_speeds = set(), [], []
    for number in range(ROUNDS):
        report = _run(bag, folder, str(drive), "--out", str(folder / f"offline_{number}.mcap"), *judged)
        reports["every frame, offline"] = report
        digests.add(_digest(folder / f"offline_{number}.mcap"))
        speeds.append(report["fps"])
        stream_speeds.append(_bare_stream_fps(arguments))
    latency_ms = reports["every frame, offline"]["latency_ms"]["median"]
    name = f"simulated, {latency_ms:.0f} ms a frame"
    reports[name] = _run(
        bag, folder, str(drive), "--out", str(folder / "s.mcap"), *judged, "--realtime", f"{latency_ms}"
    )
    reports["live"] = _run(replay, folder, str(drive), "--out", str(folder / "live"), *judged)

    print(f"\n| | {' | '.join(FIGURES.values())} | latency median / p99, ms |")
    print("|---" * (len(FIGURES) + 2) + "|")
    for name, report in reports.items():
        cells = ["–" if report.get(key) is None else f"{report[key]:g}" for key in FIGURES]
        latency = report["latency_ms"]
        print(f"| {name} | {' | '.join(cells)} | {latency['median']:.0f} / {latency['p99']:.0f} |")
    same = "the same bytes" if len(digests) == 1 else f"{len(digests)} different results"
    print(f"\n{ROUNDS} offline runs: {same} of labels.")
    print(
        f"Offline {median(speeds):.2f} fps, the bare stream {median(stream_speeds):.2f} fps: "
        f"{median(speeds) / median(stream_speeds):.2f} of it."
    )


def _run(command: Any, folder: Path, *words: str) -> dict[str, Any]:
    command([*words, "--json", str(folder / "report.json")])
    return json.loads((folder / "report.json").read_text())


def _digest(path: Path) -> str:
    with BagReader(path) as reader:
        return hashlib.sha256(b"".join(bytes(raw) for _, _, raw in reader.messages(LABEL_TOPIC))).hexdigest()


def _bare_stream_fps(arguments: argparse.Namespace) -> float:
    """Frames per second of the stream alone, its frames already in memory."""
    frames = list(read_video(arguments.images))
    stream = _segmenter(arguments).stream()
    started_s = time.monotonic()
    for frame, stamp_ns in frames:
        stream.step(frame, stamp_ns)
    return len(frames) / (time.monotonic() - started_s)


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Label a long bag, as a very slow computer would, report on it, and print the memory of the process over time."""
    drive = folder / "drive.mcap"
    count = round(arguments.minutes * 60 * RATE_HZ)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIZE_HW[0], 2 * SIZE_HW[1], 3), np.uint8)
    with BagWriter(drive) as writer:
        camera = writer.add_topic(CAMERA_TOPIC, IMAGE)
        types = standard_types().types
        for index in range(count):
            bag_ns = START_NS + round(index * 1e9 / RATE_HZ)
            stamp = ns_to_stamp(bag_ns, types["builtin_interfaces/msg/Time"])
            header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
            shift = index % SIZE_HW[1]
            # Else a picture would repeat the rows of the one before, and the bag be small.
            picture = noise[:, shift : shift + SIZE_HW[1]] ^ np.uint8(index % 256)
            writer.write(camera, bag_ns, image_message(header, picture))
    print(
        f"{count} frames, {count * SIZE_HW[0] * SIZE_HW[1] * 3 / 1e9:.1f} GB of pictures, {_gb(drive):.1f} GB on disk"
    )
    segmenter = _segmenter(arguments)
    with BagReader(drive) as reader, BagWriter(folder / "out.mcap") as writer:
        copy = writer.copy_messages
        writer.copy_messages = lambda *topics: _watched(copy(*topics), count)
        run = label_bag(
            reader, writer, {CAMERA_TOPIC: "/segmentation"}, segmenter, real_time=RealTime(arguments.latency)
        )
    facts = {**run_facts({}), "mode": "simulated", "bag": "a long drive", "topic": CAMERA_TOPIC, "device_name": "any"}
    judged = folder / "out.mcap", CAMERA_TOPIC, LABEL_TOPIC, None, segmenter.labels
    judge(*judged, run.cameras[CAMERA_TOPIC], facts, folder / "report")
    print(f"the report is made: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


def _watched(messages: Iterator[Any], count: int) -> Iterator[Any]:
    for index, message in enumerate(messages):
        if index % (count // 10) == 0:
            print(f"{index:6} frames: {_resident_mb():.0f} MB resident", flush=True)
        yield message


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _gb(path: Path) -> float:
    return path.stat().st_size / 1e9


def _segmenter(arguments: argparse.Namespace) -> Segmenter:
    return Segmenter.from_checkpoint(arguments.checkpoint, device=arguments.device, precision=arguments.precision)


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_figures = commands.add_parser("figures")
    of_figures.add_argument("--images", type=Path, required=True)
    of_figures.add_argument("--labels", type=Path, required=True)
    of_figures.set_defaults(run=figures)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--minutes", type=positive_number, default=10.0)
    of_memory.add_argument("--latency", type=positive_number, default=2000.0, help="of the simulated computer (ms)")
    of_memory.set_defaults(run=memory)
    for command in (of_figures, of_memory):
        add_segmenter_arguments(command)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.run(arguments, Path(folder))


if __name__ == "__main__":
    main()
