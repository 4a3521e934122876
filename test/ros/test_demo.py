import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2, or its wheels: pip install '.[ros]'")
pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")
pytest.importorskip("av", reason="video files need PyAV: pip install '.[video]'")

from sdcpc_core.data.synthetic import SyntheticDrive
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.report import run_facts
from sdcpc_core.video import START_NS, VideoWriter, read_video
from sdcpc_ros.bag_io import COMPRESSED_IMAGE, IMAGE, decode, decode_frame, image_message, standard_types
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.demo import demo
from sdcpc_ros.demo_source import CAMERA_TOPIC, DEMO_SEED, TRUTH_TOPIC, record_drive, record_video
from sdcpc_ros.drive_results import judge
from sdcpc_ros.node_process import NodeError, NodeProcess
from sdcpc_ros.recording import moments

LABEL_TOPIC = "/segmentation/label"
STRING = "std_msgs/msg/String"
PERIOD_NS = 100_000_000


def header(stamp_ns: int):
    types = standard_types().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="front")


def read(path: Path, topic: str) -> list[tuple[int, bytes]]:
    with BagReader(path) as reader:
        return [(bag_ns, bytes(raw)) for _, bag_ns, raw in reader.messages(topic)]


def pixels(raw: bytes) -> np.ndarray:
    message = decode(raw, IMAGE)
    return message.data.reshape(message.height, message.width)


def leftovers(namespace: str) -> list[str]:
    """Command lines of the nodes that still run."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if f"__ns:={namespace} " in line]


def test_a_synthetic_drive_live(tmp_path, small_checkpoint, capsys):
    out = tmp_path / "demo"
    demo(f"--out {out} --checkpoint {small_checkpoint} --seconds 2 --rate 10 --size 96x128".split())

    names = {"overlay.mp4", "contact_sheet.png", "segmentation.mcap", "report.json", "report.html", "node.log"}
    assert {path.name for path in out.iterdir()} == names
    assert leftovers(f"/sdcpc_{os.getpid()}") == []
    report = json.loads((out / "report.json").read_text())
    assert report["frames_sent"] == 20
    assert 1 <= report["frames_answered"] == 20 - report["frames_dropped"]
    assert report["latency_ms"]["p99"] >= report["latency_ms"]["median"] > 0
    assert (report["seed"], report["rate_hz"], report["format_version"]) == (DEMO_SEED, 10.0, 1)

    recording = out / "segmentation.mcap"
    images, labels = read(recording, CAMERA_TOPIC), read(recording, LABEL_TOPIC)
    assert len(images) == 20
    assert len(labels) == len(read(recording, "/segmentation/overlay")) == report["frames_answered"]
    headers = [decode(raw, IMAGE).header for _, raw in images]
    assert all(decode(raw, IMAGE).header in headers for _, raw in labels)
    drive = SyntheticDrive(DEMO_SEED, (96, 128), 10.0)
    np.testing.assert_array_equal(decode_frame(images[7][1], IMAGE)[1], drive.frame(7).image)

    # The live figure once more, from the recording alone: every frame sent counts, the last answer held.
    answers = {
        decode(raw, IMAGE).header.stamp.nanosec + decode(raw, IMAGE).header.stamp.sec * 10**9: pixels(raw)
        for _, raw in labels
    }
    confusion, held = ConfusionMatrix(11, 255), np.full((96, 128), 255, np.uint8)
    for index in range(20):
        held = answers.get(START_NS + index * PERIOD_NS, held)
        confusion.update(held, drive.frame(index).label_map)
    assert report["mIoU"] == pytest.approx(confusion.mIoU(), abs=0.01)

    footage = read_video(out / "overlay.mp4")
    assert (footage.frame_count, footage.rate_hz) == (20, 10.0)
    assert cv2.imread(str(out / "contact_sheet.png")).shape[1] > 4 * 300, "four columns"
    shown = capsys.readouterr().out
    assert "frames answered" in shown
    assert "mIoU" in shown


def test_a_bag_live(tmp_path, small_checkpoint):
    """Compressed images, other topics, and the answers of an earlier demo, which give way to the new ones."""
    types = standard_types().types
    source, out = tmp_path / "drive", tmp_path / "demo"
    drive = SyntheticDrive(3, (96, 128), 10.0)
    with BagWriter(source) as writer:
        camera = writer.add_topic("/front/compressed", COMPRESSED_IMAGE)
        talk, old = writer.add_topic("/talk", STRING), writer.add_topic(LABEL_TOPIC, IMAGE)
        for index in range(8):
            stamp_ns = 10**9 + index * PERIOD_NS
            _, data = cv2.imencode(".jpg", drive.frame(index).image[..., ::-1])
            data = data.reshape(-1) if index != 4 else data.reshape(-1)[:50]
            writer.write(camera, stamp_ns + 7, types[COMPRESSED_IMAGE](header(stamp_ns), "jpeg", data))
            writer.write(talk, stamp_ns + 9, types[STRING](f"word {index}"))
            writer.write(old, stamp_ns + 11, image_message(header(stamp_ns), np.zeros((96, 128), np.uint8)))
    demo(f"--out {out} --checkpoint {small_checkpoint} --bag {source} --topic /front/compressed".split())

    report = json.loads((out / "report.json").read_text())
    assert (report["frames_sent"], report["mIoU"], report["seed"]) == (7, None, None)
    recording = out / "segmentation.mcap"
    assert read(recording, "/front/compressed") == read(source, "/front/compressed")
    assert read(recording, "/talk") == read(source, "/talk")
    labels = read(recording, LABEL_TOPIC)
    assert len(labels) == report["frames_answered"]
    assert decode(labels[0][1], IMAGE).header.frame_id == "front"
    assert read_video(out / "overlay.mp4").frame_count == 7


def test_a_node_that_cannot_configure_says_why(tmp_path, small_checkpoint):
    run = f"--out {tmp_path} --checkpoint {small_checkpoint} --precision fp8 --seconds 0.2 --size 64x96"
    with pytest.raises(NodeError, match=r"could not configure itself: .*'fp8'.*[a-z0-9]; see .*node\.log$") as raised:
        demo(run.split())
    assert "\n" not in str(raised.value)
    assert "ros2" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["node.log"]
    assert leftovers(f"/sdcpc_{os.getpid()}") == []


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("", ""),
        ("[INFO] [1.0] [a.b]: fine\n[WARN] [1.0] [a.b]: no image\n", ""),
        ("[ERROR] [1.0] [a.b]: cannot configure: no\n[ERROR] [2.0] [a.b]: frame lost: why\n", "frame lost: why"),
        (
            "[ERROR] [1.0] [a.b]: frame lost: Traceback (most recent call last):\n  x\nRuntimeError: why\n\n",
            "RuntimeError: why",
        ),
        (
            "Traceback (most recent call last):\n  File x\nsdcpc_core.errors.ConfigError: why\n",
            "sdcpc_core.errors.ConfigError: why",
        ),
    ],
)
def test_the_last_error_of_a_log_is_found(tmp_path, log, error):
    node = NodeProcess(tmp_path / "node.log", {}, namespace="/a")
    node.log_path.write_text(log)
    assert node.last_error() == error


def test_a_bag_without_a_usable_frame_is_told_at_once(tmp_path, small_checkpoint):
    for name, size_hw, encoding in [("small.mcap", (16, 16), "rgb8"), ("depth.mcap", (64, 96), "32FC1")]:
        with BagWriter(tmp_path / name) as writer:
            message = image_message(header(1), np.zeros((*size_hw, 3), np.uint8))
            message.encoding = encoding
            writer.write(writer.add_topic(CAMERA_TOPIC, IMAGE), 1, message)
        run = f"--out {tmp_path / 'out'} --checkpoint {small_checkpoint} --bag {tmp_path / name}"
        with pytest.raises(InputError, match=r"no frame on /camera/image_raw is usable: .*(16x16|32FC1)"):
            demo(run.split())


@pytest.mark.parametrize("option", ["--seconds", "--rate"])
@pytest.mark.parametrize("value", ["nan", "inf", "-5", "0", "soon"])
def test_lengths_and_rates_are_positive_numbers(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit, match="2"):
        demo(["--out", str(tmp_path), f"{option}={value}"])
    assert f"argument {option}: {value!r} is not a positive number" in capsys.readouterr().err


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def is_playing(out: Path) -> bool:
    """Whether the recording of a demo is open and its node configured."""
    return any(out.glob(".segmentation.mcap.*")) and "classes of" in (out / "node.log").read_text()


@pytest.mark.parametrize(
    ("number", "playing"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, True), (signal.SIGKILL, False)],
)
def test_an_interrupted_demo_leaves_no_process(tmp_path, tmp_path_factory, small_checkpoint, number, playing):
    length = "--seconds 20 --rate 2" if playing else "--seconds 60 --rate 5"
    run = f"demo --out {tmp_path} --checkpoint {small_checkpoint} {length} --size 64x96"
    program = (
        # A test run in the background of a shell hands down an ignored SIGINT.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
        "from sdcpc_core.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *run.split()],
        stderr=subprocess.DEVNULL,
        # Killed, it cannot remove its workspace.
        env=os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("workspace"))},
    )
    namespace = f"/sdcpc_{process.pid}"
    wait_for(lambda: leftovers(namespace))
    if playing:
        wait_for(lambda: is_playing(tmp_path))
    time.sleep(1)
    process.send_signal(number)
    assert process.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    if number == signal.SIGKILL:
        # The node, which nobody waits for, needs its moment.
        wait_for(lambda: not leftovers(namespace))
    assert leftovers(namespace) == []
    assert [path.name for path in tmp_path.iterdir()] == ["node.log"]


def test_topic_belongs_to_a_bag(tmp_path):
    with pytest.raises(ConfigError, match="--topic belongs to --bag"):
        demo(["--out", str(tmp_path), "--topic", "/camera"])


def test_a_drive_becomes_a_bag(tmp_path):
    record_drive(tmp_path / "drive.mcap", seconds=0.3, rate_hz=10.0, size_hw=(64, 96))
    wanted = [SyntheticDrive(DEMO_SEED, (64, 96), 10.0).frame(index) for index in range(3)]
    for (bag_ns, raw), (_, truth), frame in zip(
        read(tmp_path / "drive.mcap", CAMERA_TOPIC), read(tmp_path / "drive.mcap", TRUTH_TOPIC), wanted, strict=True
    ):
        np.testing.assert_array_equal(decode_frame(raw, IMAGE)[1], frame.image)
        np.testing.assert_array_equal(pixels(truth), frame.label_map)
        assert bag_ns == START_NS + frame.stamp_ns


def test_a_video_becomes_a_bag(tmp_path):
    frame = np.full((64, 96, 3), (200, 100, 50), np.uint8)
    with VideoWriter(tmp_path / "drive.mp4", 20.0) as writer:
        for _ in range(4):
            writer.write(frame)
    record_video(tmp_path / "drive.mcap", tmp_path / "drive.mp4")
    messages = read(tmp_path / "drive.mcap", CAMERA_TOPIC)
    assert [bag_ns for bag_ns, _ in messages] == [START_NS + index * 50_000_000 for index in range(4)]
    image_header, read_back = decode_frame(messages[0][1], IMAGE)
    assert image_header.stamp.sec == 1
    assert np.abs(read_back.astype(int) - frame).max() < 8


def test_the_last_answer_is_held(tmp_path):
    with BagWriter(tmp_path / "run.mcap") as writer:
        camera, label, truth = (writer.add_topic(name, IMAGE) for name in (CAMERA_TOPIC, LABEL_TOPIC, TRUTH_TOPIC))
        for index in range(5):
            stamp_ns = START_NS + index * PERIOD_NS
            writer.write(camera, stamp_ns, image_message(header(stamp_ns), np.full((4, 6, 3), index, np.uint8)))
            if index in (1, 3):  # answered long after
                labels = np.full((4, 6), index, np.uint8)
                writer.write(label, stamp_ns + 3 * PERIOD_NS, image_message(header(stamp_ns), labels))
            if index != 2:
                labels = np.full((4, 6), 10 - index, np.uint8)
                writer.write(truth, stamp_ns, image_message(header(stamp_ns), labels))
    shown = list(moments(tmp_path / "run.mcap", CAMVID, CAMERA_TOPIC, LABEL_TOPIC, TRUTH_TOPIC))
    assert [moment.frame[0, 0, 0] for moment in shown] == [0, 1, 2, 3, 4]
    assert [moment.label_map[0, 0] for moment in shown] == [255, 1, 1, 3, 3]
    assert [moment.answer_age_ns for moment in shown] == [None, 0, PERIOD_NS, 0, PERIOD_NS]
    assert [None if moment.truth is None else moment.truth[0, 0] for moment in shown] == [10, 9, None, 7, 6]


def test_what_does_not_follow_the_frame_before_is_told(tmp_path):
    """A frame that is no picture, and a loop that begins anew."""
    with BagWriter(tmp_path / "run.mcap") as writer:
        camera = writer.add_topic(CAMERA_TOPIC, IMAGE)
        for number, index in enumerate((0, 1, 2, 3, 4, 0, 1)):
            message = image_message(header(START_NS + index * PERIOD_NS), np.zeros((4, 6, 3), np.uint8))
            message.encoding = "martian" if number == 2 else "rgb8"
            writer.write(camera, START_NS + number * PERIOD_NS, message)
    shown = moments(tmp_path / "run.mcap", CAMVID, CAMERA_TOPIC, LABEL_TOPIC, None)
    assert [moment.after_gap for moment in shown] == [False, False, True, False, True, False]


def test_messages_without_a_frame_cost_no_others(tmp_path):
    """Truth from before the camera started, and what is no truth: another type, another size, colours."""
    truth = [np.full((4, 6), 1, np.uint8), np.full((4, 6), 2, np.uint8), np.full((8, 6), 3, np.uint8)]
    truth += [np.full((4, 6, 3), 4, np.uint8), np.full((4, 6), 5, np.uint16)]
    with BagWriter(tmp_path / "run.mcap") as writer:
        camera, label = writer.add_topic(CAMERA_TOPIC, IMAGE), writer.add_topic(LABEL_TOPIC, STRING)
        true_label = writer.add_topic(TRUTH_TOPIC, IMAGE)
        for index, pixels_of in enumerate(truth):
            stamp_ns = START_NS + index * PERIOD_NS
            writer.write(true_label, stamp_ns, image_message(header(stamp_ns), pixels_of))
            if index:
                writer.write(camera, stamp_ns, image_message(header(stamp_ns), np.zeros((4, 6, 3), np.uint8)))
        writer.write(camera, stamp_ns, b"\0\1\0\0")
        writer.write(label, stamp_ns, standard_types().types[STRING]("no labels"))
    shown = list(moments(tmp_path / "run.mcap", CAMVID, CAMERA_TOPIC, LABEL_TOPIC, TRUTH_TOPIC))
    assert [None if moment.truth is None else moment.truth[0, 0] for moment in shown] == [2, None, None, 5]
    assert {moment.answer_age_ns for moment in shown} == {None}


def test_a_change_of_size_and_bad_frames_make_no_other_video(tmp_path):
    """Every second frame is no picture, and in the middle the camera changes its size."""
    with BagWriter(tmp_path / "run.mcap") as writer:
        camera = writer.add_topic(CAMERA_TOPIC, IMAGE)
        for index in range(9):
            stamp_ns = START_NS + index * PERIOD_NS
            size_hw = (64, 96) if index < 4 else (96, 128)
            message = image_message(header(stamp_ns), np.full((*size_hw, 3), 20 * index, np.uint8))
            message.encoding = "martian" if index % 2 else "rgb8"
            writer.write(camera, stamp_ns, message)
    run = CameraRun([START_NS + index * PERIOD_NS for index in range(9)])
    facts = {"mode": "live", "bag": "run.mcap", "topic": CAMERA_TOPIC, "device_name": "cpu", **run_facts({})}
    judge(tmp_path / "run.mcap", CAMERA_TOPIC, LABEL_TOPIC, TRUTH_TOPIC, CAMVID, run, facts, tmp_path)
    footage = read_video(tmp_path / "overlay.mp4")
    frames = [frame for frame, _ in footage]
    assert {frame.shape for frame in frames} == {(64, 96, 3)}
    assert [round(frame.mean() / 20) for frame in frames] == [0, 0, 2, 2, 4, 4, 6, 6, 8]
