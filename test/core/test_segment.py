import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.errors import CheckpointError, ConfigError, InputError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.segment import segment
from sdcpc_core.video import VideoWriter, read_video

pytest.importorskip("av", reason="video files need PyAV: pip install '.[video]'")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Random weights that see frames of 64x96 pixels."""
    path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
    header = CheckpointHeader("sdcpc_mit_b0", {}, CAMVID, (64, 96))
    torch.manual_seed(0)
    save_checkpoint(path, header.build(), header)
    return path


def moving_square(index: int) -> np.ndarray:
    frame = np.full((96, 128, 3), 60, np.uint8)
    frame[30:60, 10 * index : 10 * index + 30] = (200, 40, 40)
    return frame


@pytest.fixture
def video(tmp_path) -> Path:
    with VideoWriter(tmp_path / "drive.mp4", 12.5) as writer:
        for i in range(5):
            writer.write(moving_square(i))
    return tmp_path / "drive.mp4"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "frames").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), moving_square(i))
    return tmp_path / "frames"


def test_a_video_becomes_an_overlay_video(video, checkpoint, tmp_path, capsys):
    out, report = tmp_path / "overlay.mp4", tmp_path / "report.json"
    segment([str(video), "--out", str(out), "--checkpoint", str(checkpoint), "--json", str(report)])
    footage = read_video(out)
    assert (footage.frame_count, footage.rate_hz) == (5, 12.5)
    frame, _ = next(iter(footage))
    assert frame.shape == (96, 128, 3)
    assert np.abs(frame.astype(int) - moving_square(0)).mean() > 10, "colours lie over it"
    shown = capsys.readouterr().out
    assert shown.startswith(f"{out}: 5 frames in ")
    assert "fps" in shown
    facts = json.loads(report.read_text())
    assert facts["frames"] == 5
    assert facts["format_version"] == 1
    assert facts["config"]["checkpoint"] == str(checkpoint)
    assert facts["latency_ms"]["p99"] >= facts["latency_ms"]["median"] > 0


def test_alpha_zero_shows_the_footage(folder, checkpoint, tmp_path):
    out = tmp_path / "overlay.mp4"
    segment([str(folder), "--out", str(out), "--checkpoint", str(checkpoint), "--alpha", "0", "--rate", "4"])
    footage = read_video(out)
    assert (footage.frame_count, footage.rate_hz) == (3, 4.0)
    for i, (frame, _) in enumerate(footage):
        written = cv2.cvtColor(moving_square(i), cv2.COLOR_BGR2RGB)
        assert np.abs(frame.astype(int) - written).mean() < 4


def test_the_dashcam_video(shared_data, checkpoint, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i, (frame, _) in zip(range(2), read_video(shared_data("dashcam/solidWhiteRight.mp4")), strict=False):
        cv2.imwrite(str(frames / f"{i}.jpg"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    segment([str(frames), "--out", str(tmp_path / "overlay.mkv"), "--checkpoint", str(checkpoint)])
    (frame, _), _ = read_video(tmp_path / "overlay.mkv")
    assert frame.shape == (540, 960, 3)


def test_mistakes_are_said_before_work_begins(video, checkpoint, tmp_path):
    out = tmp_path / "overlay.mp4"
    run = ["--out", str(out), "--checkpoint", str(checkpoint)]
    with pytest.raises(ConfigError, match=r"--alpha 2\.0; it must lie between 0 and 1"):
        segment([str(video), *run, "--alpha", "2"])
    with pytest.raises(InputError, match="absent is not a readable video"):
        segment([str(tmp_path / "absent"), *run])
    with pytest.raises(OutputError, match="name ends in"):
        segment([str(video), "--out", str(tmp_path / "overlay.gif")])
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        segment([str(video), "--out", str(out), "--checkpoint", str(tmp_path / "absent")])
    with pytest.raises(OutputError, match="different names"):
        segment([str(video), *run, "--json", str(out)])
    with pytest.raises(OutputError, match="is a folder"):
        segment([str(video), *run, "--json", str(tmp_path)])
    with pytest.raises(OutputError, match="cannot write"):
        segment([str(video), *run, "--json", str(video / "report.json")])
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(OutputError, match="pass --overwrite"):
        segment([str(video), *run])
    assert out.read_text() == "mine"
    segment([str(video), *run, "--overwrite"])
    assert read_video(out).frame_count == 5


def test_a_broken_picture_leaves_nothing(folder, checkpoint, tmp_path):
    (folder / "9.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"9\.png is not a readable image"):
        segment([str(folder), "--out", str(tmp_path / "overlay.mp4"), "--checkpoint", str(checkpoint)])
    assert list(tmp_path.glob("*overlay*")) == []
