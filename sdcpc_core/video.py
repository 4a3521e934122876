"""Video files and folders of images as streams of RGB frames, and back."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from sdcpc_core.errors import ConfigError, InputError, MissingDependencyError, OutputError
from sdcpc_core.output import atomic_output, write_error

FOLDER_RATE_HZ = 15.0
"""Rate given to a folder of images, which knows none: that of the videos the models learn from."""

START_NS = 1_000_000_000
"""Stamp of the start of every video: zero means "unknown" to streams and in ROS."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MIN_RATE_HZ, MAX_RATE_HZ = 0.01, 1000.0
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class Footage:
    """Frames to read once or again, one at a time; iterating opens the source anew.

    Attributes:
        path: the video file or folder.
        rate_hz: mean number of frames per second.
        frame_count: how many frames the source says it has; None when it does not say.
    """

    path: Path
    rate_hz: float
    frame_count: int | None
    _frames: Callable[[], Iterator[tuple[np.ndarray, int]]] = field(repr=False)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        """Read from the start.

        Yields:
            Frame, (H, W, 3) uint8 RGB, and ``stamp_ns``: ``START_NS`` plus its time in the video.

        Raises:
            InputError: the source breaks off or a picture cannot be read.
        """
        return self._frames()


def read_video(path: str | Path, *, rate_hz: float | None = None) -> Footage:
    """Open a video file, or a folder of images in the order of their names.

    Args:
        path: video, or folder of png and jpg files; ``frame2`` comes before ``frame10``.
        rate_hz: rate of a folder, ``FOLDER_RATE_HZ`` by default; a video has its own.

    Raises:
        InputError: nothing there, no frames in it, or not a video.
        ConfigError: a rate that ``check_rate`` refuses, or a rate for a video.
        MissingDependencyError: PyAV is needed and not installed.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, FOLDER_RATE_HZ if rate_hz is None else rate_hz)
    if rate_hz is not None:
        raise ConfigError(f"{path} is not a folder of images; a video has its own rate")
    return _read_file(path)


def check_rate(rate_hz: float) -> None:
    """Refuse rates whose frames have no sensible times.

    Raises:
        ConfigError: outside ``MIN_RATE_HZ`` to ``MAX_RATE_HZ``.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ConfigError(f"the rate is {rate_hz:g} Hz; it must be {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}")


def _read_folder(folder: Path, rate_hz: float) -> Footage:
    check_rate(rate_hz)
    paths = sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
    if not paths:
        raise InputError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")

    def frames() -> Iterator[tuple[np.ndarray, int]]:
        for index, path in enumerate(paths):
            bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if bgr is None:
                raise InputError(f"{path} is not a readable image")
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), START_NS + round(index * 1e9 / rate_hz)

    return Footage(folder, rate_hz, len(paths), frames)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorting key of a file by its name: ``frame2`` comes before ``frame10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read_file(path: Path) -> Footage:
    av = _import_av()
    unreadable = f"{path} is not a readable video"
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no video")
            stream = container.streams.video[0]
            rate_hz = float(stream.average_rate or stream.guessed_rate or FOLDER_RATE_HZ)
            frame_count = stream.frames or None
            if next(container.decode(stream), None) is None:
                raise InputError(f"{path} holds no frames")
    except (av.FFmpegError, OSError) as err:
        raise InputError(f"{unreadable}: {err.strerror or err}") from err

    def frames() -> Iterator[tuple[np.ndarray, int]]:
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                start_pts = stream.start_time or 0
                for index, picture in enumerate(container.decode(stream)):
                    # Some containers give no time to some frames.
                    seconds = index / rate_hz if picture.pts is None else (picture.pts - start_pts) * stream.time_base
                    yield _upright(picture), START_NS + round(seconds * 10**9)
        except (av.FFmpegError, OSError) as err:
            raise InputError(f"{unreadable}: {err.strerror or err}") from err

    return Footage(path, rate_hz, frame_count, frames)


def _upright(picture) -> np.ndarray:
    # A phone held upright records lying frames and says how to turn them.
    quarter_turns = round(getattr(picture, "rotation", 0) / 90)
    frame = picture.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(frame, quarter_turns)) if quarter_turns else frame


class VideoWriter:
    """Writes H.264 that browsers play; a context manager.

    The file takes its name when the block ends without an error; before that, and after an error, nothing of it
    is there. A frame with an odd side is repeated at its edge by one pixel, because the format halves its colours.
    """

    def __init__(self, path: str | Path, rate_hz: float, *, overwrite: bool = False) -> None:
        """Prepare to write.

        Args:
            path: ``.mp4``, ``.mov`` or ``.mkv``.
            rate_hz: frames per second.
            overwrite: replace a file that exists.

        Raises:
            OutputError: another suffix; later, when the block begins or ends, that the file exists or that the
                system refuses to write it, such as on a full disk.
            MissingDependencyError: PyAV is not installed.
        """
        check_video_name(path)
        self._av = _import_av()
        self._path = Path(path)
        self._rate = Fraction(rate_hz).limit_denominator(1001)
        self._overwrite = overwrite
        self._size_hw: tuple[int, int] | None = None

    def __enter__(self) -> "VideoWriter":
        self._session = self._writing()
        self._session.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._session.__exit__(*error)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with (
                atomic_output(self._path, overwrite=self._overwrite) as draft,
                self._av.open(str(draft), "w", options={"movflags": "faststart"}) as self._container,
            ):
                yield
                if self._size_hw is None:
                    raise OutputError(f"no frame was written to {self._path}")
                self._container.mux(self._stream.encode())
        except self._av.FFmpegError as err:
            raise write_error(self._path, err) from err

    def write(self, frame: np.ndarray) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of the same size each time.

        Raises:
            InputError: another size than the first frame.
        """
        height, width = frame.shape[:2]
        even = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._size_hw is None:
            self._size_hw = (height, width)
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.height, self._stream.width = even.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": "20", "preset": "veryfast"}
        elif self._size_hw != (height, width):
            raise InputError(f"a frame of {width}x{height} in a video of {self._size_hw[1]}x{self._size_hw[0]} pixels")
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(even, format="rgb24")))


def check_video_name(path: str | Path) -> None:
    """Refuse names that no video can have.

    Raises:
        OutputError: the suffix is not one of ``VIDEO_SUFFIXES``.
    """
    if Path(path).suffix.lower() not in VIDEO_SUFFIXES:
        raise OutputError(f"cannot write {path}: a video's name ends in {', '.join(VIDEO_SUFFIXES)}")


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as err:
        raise MissingDependencyError("video files need PyAV: pip install '.[video]' in the checkout") from err
    return av
