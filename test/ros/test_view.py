import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.video import VideoWriter
from sdcpc_ros.view import view

pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")


def logged(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "rerun", "rrd", "print", *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rows(path: Path) -> Counter[str]:
    """Number of rows of each entity of a recording."""
    found: Counter[str] = Counter()
    for count, entity in re.findall(r"with (\d+) rows .* - (/\S+) - data columns", logged(path)):
        found[entity] += int(count)
    return found


@pytest.fixture
def rerun():
    return pytest.importorskip("rerun", reason="the viewer is Rerun: pip install '.[view]'")


def test_a_bag_becomes_a_recording_of_rerun(tmp_path, rerun, small_checkpoint):
    from sdcpc_ros.demo_source import CAMERA_TOPIC, record_drive

    record_drive(tmp_path / "drive.mcap", seconds=0.3, rate_hz=10.0, size_hw=(64, 96))
    saved = tmp_path / "drive.rrd"
    run = [str(tmp_path / "drive.mcap"), "--topic", CAMERA_TOPIC, "--checkpoint", str(small_checkpoint)]
    view([*run, "--save", str(saved)])
    found = rows(saved)
    assert found["/camera"] == 1
    for entity in ("/camera/image", "/camera/labels", "/confidence", "/latency_ms"):
        assert found[entity] == 3, entity
    assert CAMVID.names[0] in logged(saved, "-vvv")
    with pytest.raises(OutputError, match="exists"):
        view([*run, "--save", str(saved)])
    assert {path.name for path in tmp_path.iterdir()} == {"drive.mcap", "drive.rrd"}


def test_a_video_becomes_a_recording_of_rerun(tmp_path, rerun, scene, small_checkpoint):
    pytest.importorskip("av")
    with VideoWriter(tmp_path / "drive.mp4", 20.0) as writer:
        for seed in range(2):
            writer.write(scene(seed=seed))
    view([str(tmp_path / "drive.mp4"), "--checkpoint", str(small_checkpoint), "--save", str(tmp_path / "a.rrd")])
    assert rows(tmp_path / "a.rrd")["/camera/labels"] == 2


def test_what_cannot_be_shown_is_said(tmp_path, rerun):
    with pytest.raises(OutputError, match=r"named \.rrd"):
        view([str(tmp_path), "--save", str(tmp_path / "a.mp4")])
    with pytest.raises(ConfigError, match="--topic belongs to a bag"):
        view([str(tmp_path / "a.mp4"), "--topic", "/camera"])
    with pytest.raises(InputError, match="holds no images"):
        view([str(tmp_path), "--save", str(tmp_path / "a.rrd")])
    assert list(tmp_path.iterdir()) == []
