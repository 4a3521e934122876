"""Reading bags and their messages through rosbags, with no ROS installation."""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)


@cache
def standard_types() -> "Typestore":
    """The message types of ROS 2; those used here are the same in every distribution."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE)


def decode(raw: bytes, msgtype: str) -> Any:
    """Read a message of a standard type.

    Raises:
        InputError: the bytes are not such a message.
    """
    try:
        return standard_types().deserialize_cdr(raw, msgtype)
    except Exception as err:  # Broken bytes can raise anything.
        raise InputError(f"a message is not a readable {msgtype}") from err


def decode_frame(raw: bytes, msgtype: str) -> tuple[Any, "np.ndarray"]:
    """Read a camera image, compressed or not.

    Args:
        raw: serialized message.
        msgtype: one of ``IMAGE_TYPES``.

    Returns:
        The message's header, and (H, W, 3) uint8 RGB.

    Raises:
        InputError: the bytes are no such message, or hold no usable picture.
    """
    from sdcpc_ros.compressed import compressed_to_rgb
    from sdcpc_ros.conversions import image_to_rgb

    message = decode(raw, msgtype)
    return message.header, image_to_rgb(message) if msgtype == IMAGE else compressed_to_rgb(message)


def image_message(header: Any, pixels: "np.ndarray") -> Any:
    """A label map or RGB picture as an image message that ``BagWriter.write`` takes."""
    from sdcpc_ros.conversions import array_to_image

    return array_to_image(pixels, header, standard_types().types[IMAGE])


def stamp_of(raw: bytes) -> int:
    """Stamp (ns) of a serialized message that begins with a header.

    Raises:
        InputError: the message is too short for one.
    """
    if len(raw) < 12:
        raise InputError(f"a message of {len(raw)} bytes has no header")
    # Four bytes tell the encoding, the second of them the byte order; then sec and nanosec.
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return sec * 1_000_000_000 + nanosec


class BagReader:
    """An open bag; a context manager.

    Reads rosbag2 folders and bare ``.mcap`` and ``.db3`` files.
    """

    def __init__(self, path: str | Path) -> None:
        """Look at the bag without opening it.

        Raises:
            InputError: nothing there, or not a ROS 2 bag.
        """
        self._path = Path(path)
        self._storage = _storage_of(self._path)

    def __enter__(self) -> "BagReader":
        """Open the bag.

        Raises:
            InputError: the bag is broken.
        """
        from rosbags.rosbag2 import Reader

        try:
            self._reader = Reader(self._storage)
            self._reader.open()
        except Exception as err:  # Broken files can raise anything.
            raise InputError(f"{self._path} is not a readable bag: {err or type(err).__name__}") from err
        return self

    def __exit__(self, *error) -> None:
        self._reader.close()

    @property
    def connections(self) -> list["Connection"]:
        """Every topic with its type, definition and quality of service, once per publisher that was recorded."""
        return self._reader.connections

    def count(self, topic: str) -> int:
        """Number of messages on a topic."""
        return sum(connection.msgcount for connection in self.connections if connection.topic == topic)

    def image_topic(self, topic: str | None = None) -> str:
        """Check the name of an image topic, or find the only one.

        Raises:
            InputError: no such topic, not images, no messages, or several image topics to choose from.
        """
        type_of = {connection.topic: connection.msgtype for connection in self.connections}
        if topic is not None:
            if topic not in type_of:
                listing = ", ".join(f"{name} ({msgtype})" for name, msgtype in sorted(type_of.items()))
                raise InputError(f"{self._path} has no topic {topic}; it has {listing or 'no topics at all'}")
            if type_of[topic] not in IMAGE_TYPES:
                raise InputError(f"{topic} carries {type_of[topic]}, not images ({' or '.join(IMAGE_TYPES)})")
            if not self.count(topic):
                raise InputError(f"{self._path} has no messages on {topic}")
            return topic
        images = sorted(name for name, msgtype in type_of.items() if msgtype in IMAGE_TYPES and self.count(name))
        if not images:
            raise InputError(f"{self._path} holds no images; its topics are {', '.join(sorted(type_of)) or 'none'}")
        if len(images) > 1:
            raise InputError(f"{self._path} has several image topics, choose one with --topic: {', '.join(images)}")
        return images[0]

    def messages(self, *topics: str) -> Iterator[tuple["Connection", int, bytes]]:
        """Read the messages in the order they were recorded.

        Args:
            topics: only these; all when none is named.

        Yields:
            Connection, time of recording (ns) and serialized message.

        Raises:
            InputError: the bag is broken from here on.
        """
        wanted = [connection for connection in self.connections if connection.topic in topics]
        if topics and not wanted:
            return
        try:
            yield from self._reader.messages(wanted)
        except Exception as err:  # Broken files can raise anything.
            raise InputError(f"{self._path} cannot be read to its end: {err or type(err).__name__}") from err


def _storage_of(path: Path) -> Path:
    """What rosbags is to open: a folder with metadata, or the one recording in it."""
    if not path.exists():
        raise InputError(f"no bag at {path}")
    if path.suffix == ".bag" and path.is_file():
        raise InputError(
            f"{path} is a ROS 1 bag; convert it: rosbags-convert --src {path} --dst {path.with_suffix('')}"
        )
    if path.is_file():
        if path.suffix not in (".mcap", ".db3"):
            raise InputError(f"{path} is not a bag: a rosbag2 folder, or a file .mcap or .db3")
        return path
    if (path / "metadata.yaml").exists():
        return path
    # A recorder that was killed leaves no metadata.
    recordings = sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
    if not recordings:
        raise InputError(f"{path} is not a bag: it holds neither metadata.yaml nor .mcap nor .db3 files")
    if len(recordings) > 1:
        raise InputError(f"{path} has no metadata.yaml; restore it: ros2 bag reindex {path}")
    return recordings[0]
