import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.video import MAX_RATE_HZ, MIN_RATE_HZ, START_NS, VideoWriter, read_video

pytest.importorskip("av", reason="video files need PyAV: pip install '.[video]'")


def gradient(index: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A smooth picture that survives compression and tells its index by its green."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.stack([rows * 3 % 256, np.full(size_hw, 20 * index), columns * 2 % 256], -1).astype(np.uint8)


def write(path: Path, frames: Iterable[np.ndarray], rate_hz: float = 10.0, **options) -> Path:
    with VideoWriter(path, rate_hz, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_what_is_written_is_read_back(tmp_path):
    frames = [gradient(i) for i in range(8)]
    footage = read_video(write(tmp_path / "drive.mp4", frames))
    assert (footage.frame_count, footage.rate_hz) == (8, 10.0)
    for _ in range(2):  # a second pass starts anew
        read = list(footage)
        assert [stamp_ns for _, stamp_ns in read] == [START_NS + i * 100_000_000 for i in range(8)]
        for (frame, _), wanted in zip(read, frames, strict=True):
            assert frame.dtype == np.uint8
            assert np.abs(frame.astype(int) - wanted).mean() < 6


def test_browsers_can_play_it(tmp_path):
    import av

    path = write(tmp_path / "drive.mp4", [gradient(0)], rate_hz=29.97)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(29.97, abs=1e-3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "playing begins before all is loaded"


@pytest.mark.parametrize("rate_hz", [MIN_RATE_HZ, MAX_RATE_HZ])
def test_the_slowest_and_the_fastest_video(tmp_path, rate_hz):
    footage = read_video(write(tmp_path / "drive.mp4", [gradient(i) for i in range(3)], rate_hz))
    assert (footage.rate_hz, footage.frame_count) == (pytest.approx(rate_hz), 3)
    assert [stamp_ns - START_NS for _, stamp_ns in footage] == [round(i * 1e9 / rate_hz) for i in range(3)]


def test_odd_sides_become_even(tmp_path):
    (frame, _), *_ = read_video(write(tmp_path / "odd.mp4", [gradient(1, (33, 47))]))
    assert frame.shape == (34, 48, 3)
    assert np.abs(frame[:33, :47].astype(int) - gradient(1, (33, 47))).mean() < 8


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for i in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"frame{i}.png"), cv2.cvtColor(gradient(i), cv2.COLOR_RGB2BGR))
    (tmp_path / "notes.txt").write_text("not a picture")
    footage = read_video(tmp_path, rate_hz=4.0)
    assert (footage.frame_count, footage.rate_hz) == (3, 4.0)
    frames, stamps = zip(*footage, strict=True)
    assert [int(frame[0, 0, 1]) for frame in frames] == [20, 180, 200]
    np.testing.assert_array_equal(frames[0], gradient(1))
    assert stamps == (START_NS, START_NS + 250_000_000, START_NS + 500_000_000)


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(InputError, match=r"text\.mp4 is not a readable video"):
        read_video(tmp_path / "text.mp4")
    with pytest.raises(InputError, match=r"absent\.mp4 is not a readable video: No such file"):
        read_video(tmp_path / "absent.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_video(tmp_path / "empty")
    (tmp_path / "empty" / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match=r"broken\.png is not a readable image"):
        list(read_video(tmp_path / "empty"))
    for rate_hz in (0, -1, 1e-9, 1e12, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=r"must be 0\.01 to 1000"):
            read_video(tmp_path / "empty", rate_hz=rate_hz)
    with pytest.raises(ConfigError, match="a video has its own rate"):
        read_video(write(tmp_path / "fine.mp4", [gradient(0)]), rate_hz=10)


def test_a_truncated_video_is_an_error(tmp_path):
    whole = write(
        tmp_path / "whole.mp4", [np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8) for i in range(9)]
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 8])
    with pytest.raises(InputError, match=r"cut\.mp4"):
        list(read_video(cut))


def test_nothing_half_written_remains(tmp_path):
    path = tmp_path / "drive.mp4"

    def interrupted() -> Iterator[np.ndarray]:
        yield gradient(0)
        assert not path.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, interrupted())
    with pytest.raises(OutputError, match="no frame"):
        write(path, [])
    with pytest.raises(InputError, match="a frame of 32x32 in a video of 64x48"):
        write(path, [gradient(0), gradient(0, (32, 32))])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_told(tmp_path):
    path = write(tmp_path / "drive.mp4", [gradient(0)])
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists; choose another name or pass --overwrite"):
        write(path, [gradient(1)] * 5)
    assert path.read_bytes() == before
    write(path, [gradient(1)] * 5, overwrite=True)
    assert read_video(path).frame_count == 5


def test_a_full_disk_is_an_output_error(tmp_path, full_disk):
    noise = [np.random.default_rng(i).integers(0, 255, (128, 128, 3), np.uint8) for i in range(60)]
    with full_disk(4096), pytest.raises(OutputError, match=r"cannot write .*drive\.mp4"):
        write(tmp_path / "drive.mp4", noise)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_output_errors(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "file" / "drive.mp4", [gradient(0)])
    with pytest.raises(OutputError, match="a video's name ends in"):
        VideoWriter(tmp_path / "drive.txt", 10.0)


def test_the_dashcam_video(shared_data):
    footage = read_video(shared_data("dashcam/solidWhiteRight.mp4"))
    assert (footage.rate_hz, footage.frame_count) == (25.0, 221)
    frame, stamp_ns = next(iter(footage))
    assert (frame.shape, stamp_ns) == ((540, 960, 3), START_NS)
    assert frame[:100].mean(axis=(0, 1)).argmax() == 2, "the sky is blue, so the order is RGB"


def test_a_phone_held_upright_gives_upright_frames(tmp_path):
    path = write(tmp_path / "phone.mp4", [gradient(0)])
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # of a version 0 track header
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    ((frame, _),) = read_video(path)
    clockwise = np.rot90(gradient(0), -1)
    assert frame.shape == clockwise.shape
    assert np.abs(frame.astype(int) - clockwise).mean() < 6
