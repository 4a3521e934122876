import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2, or its wheels: pip install '.[ros]'")
pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")
pytest.importorskip("av", reason="video files need PyAV: pip install '.[video]'")

from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.data.synthetic import SyntheticDrive
from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.labels import CITYSCAPES
from sdcpc_ros.bag_io import IMAGE, image_message, stamp_of, standard_types
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.live import RECORDED, RECORDING, Passage, find_stretch
from sdcpc_ros.node_process import NodeProcess
from sdcpc_ros.replay import replay

CAMERA, TRUTH = "/front/image_raw", "/truth"
PERIOD_NS = 100_000_000
START_NS = 10**9


def header(stamp_ns: int):
    types = standard_types().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="front")


def make_drive(path: Path, *, frames: int, stamped: bool = True, bad: int | None = None) -> Path:
    drive = SyntheticDrive(3, (64, 96), 10.0)
    with BagWriter(path) as writer:
        camera, truth = writer.add_topic(CAMERA, IMAGE), writer.add_topic(TRUTH, IMAGE)
        for index in range(frames):
            bag_ns = START_NS + index * PERIOD_NS
            stamp = header(bag_ns - 5 if stamped else 0)
            image = image_message(stamp, drive.frame(index).image)
            image.encoding = "martian" if index == bad else image.encoding
            writer.write(camera, bag_ns, image)
            writer.write(truth, bag_ns, image_message(stamp, drive.frame(index).label_map))
    return path


def other_classes(folder: Path) -> Path:
    header = CheckpointHeader("sdcpc_mit_b0", {}, CITYSCAPES, (64, 96))
    path = folder / "other.safetensors"
    save_checkpoint(path, header.build(), header)
    return path


def read(path: Path, topic: str) -> list[tuple[int, bytes]]:
    with BagReader(path) as reader:
        return [(bag_ns, bytes(raw)) for _, bag_ns, raw in reader.messages(topic)]


def test_a_bag_is_played_in_loops_to_a_node_of_our_own(tmp_path, small_checkpoint, capsys):
    """Half as fast, without its first and last frames, twice, and without stamps of its own."""
    source, out = make_drive(tmp_path / "drive", frames=9, stamped=False), tmp_path / "out"
    passage = "--rate 0.5 --loops 2 --start 0.2 --duration 0.5"
    run = f"{source} --out {out} --checkpoint {small_checkpoint} --topic {CAMERA} --labels {TRUTH} {passage}"
    replay(f"{run} --json {tmp_path / 'figures.json'}".split())

    report = json.loads((out / "report.json").read_text())
    assert report["frames_sent"] == 10
    assert report["frames_answered"] == 10 - report["frames_dropped"] >= 1
    assert report["frames_with_truth"] == 10
    assert report["mIoU"] > 0
    assert report["mVC8_windows"] <= 3
    assert report["latency_ms"]["max"] >= report["latency_ms"]["median"] > 0
    assert report["player_lag_ms"]["median"] is not None
    assert json.loads((tmp_path / "figures.json").read_text()).items() <= report.items()

    images = [bag_ns for bag_ns, _ in read(out / RECORDING, CAMERA)]
    begun = START_NS + 2 * PERIOD_NS
    assert images == [begun + index * PERIOD_NS for index in range(10)], "time goes on from loop to loop"
    answers = read(out / RECORDING, RECORDED["label"])
    assert {stamp_of(raw) for _, raw in answers} <= set(images)
    assert all(bag_ns > stamp_of(raw) for bag_ns, raw in answers)
    assert "mVC8" in capsys.readouterr().out or report["mVC8"] is None
    for name in ("report.html", "overlay.mp4", "contact_sheet.png", "node.log"):
        assert (out / name).stat().st_size > 0
    with pytest.raises(OutputError, match="exists; choose another folder or pass --overwrite"):
        replay(run.split())


def test_a_running_node_is_driven_with_its_clock(tmp_path, own_domain, small_checkpoint):
    source, out = make_drive(tmp_path / "drive", frames=5, bad=2), tmp_path / "out"
    parameters = {"checkpoint": str(small_checkpoint), "use_sim_time": "true", "device": "cpu", "cpu_threads": "1"}
    with NodeProcess(tmp_path / "console.log", parameters, namespace="/robot"):
        where = "--running /robot --image /robot/image"
        with pytest.raises(ConfigError, match=r"node answers with 11 of camvid classes .*; name its checkpoint"):
            replay(f"{source} --out {out} --topic {CAMERA} --checkpoint {other_classes(tmp_path)} {where}".split())
        assert list(out.iterdir()) == []
        replay(f"{source} --out {out} --topic {CAMERA} {where}".split())
    report = json.loads((out / "report.json").read_text())
    assert report["frames_sent"] == 4
    assert report["frames_answered"] >= 1
    assert report["frames_answered"] + report["frames_dropped"] == 4
    assert list(report["bad_frames"].values()) == [1], "the one that is no picture"
    assert report["device_name"].startswith("cpu (")
    assert report["device_name"].endswith(", 1 thread)"), "those of the node, not of this process"
    assert report["checkpoint"] == {"path": str(small_checkpoint)}
    assert not (out / "node.log").exists()
    assert "Traceback" not in (tmp_path / "console.log").read_text()


def test_what_cannot_be_played_is_said_at_once(tmp_path, small_checkpoint):
    source = make_drive(tmp_path / "drive", frames=3)
    run = f"{source} --out {tmp_path / 'out'} --checkpoint {small_checkpoint} --topic {CAMERA}"
    for more, error, reason in [
        ("--start 9", InputError, "no frame 9 s after its first"),
        ("--labels /absent", InputError, "neither a topic of the bag nor a folder"),
        ("--image /camera", ConfigError, "--image belongs to --running"),
    ]:
        with pytest.raises(error, match=reason):
            replay(f"{run} {more}".split())
    for more in ("--loops 0", "--rate -1", "--start -1", "--duration 0"):
        with pytest.raises(SystemExit, match="2"):
            replay(f"{run} {more}".split())


def test_a_passage_is_found_on_the_clock_of_the_bag(tmp_path):
    source = make_drive(tmp_path / "drive", frames=6)
    whole = find_stretch(source, CAMERA, Passage())
    assert (whole.start_ns, whole.stop_ns, whole.length_ns, whole.frames) == (None, None, 6 * PERIOD_NS, 6)
    part = find_stretch(source, CAMERA, Passage(start_s=0.1, duration_s=0.25))
    assert (part.start_ns, part.length_ns, part.frames) == (START_NS + PERIOD_NS, 3 * PERIOD_NS, 3)
    np.testing.assert_equal(part.stop_ns, START_NS + round(0.35e9))
