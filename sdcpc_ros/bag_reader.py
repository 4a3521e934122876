"""Reading bags through rosbags, in whatever state they are, with no ROS installation."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import InputError, SdcpcError
from sdcpc_ros.bag_io import IMAGE_TYPES

if TYPE_CHECKING:
    from rosbags.interfaces import Connection


class BagReader:
    """An open bag; a context manager.

    Reads rosbag2 folders, with ``metadata.yaml`` or without, the files in them, ``.mcap`` and ``.db3``, compressed as
    a whole, by message or not at all, and ROS 1 bags. Of a bag that is cut off it reads what there is.

    Attributes:
        damage: what is missing of the bag, in words; empty for a whole one.
    """

    def __init__(self, path: str | Path) -> None:
        """Look at the bag without opening it.

        Raises:
            InputError: nothing there, or not a bag.
        """
        self._path = Path(path)
        self.damage = ""
        if not self._path.exists():
            raise InputError(f"no bag at {path}")

    def __enter__(self) -> "BagReader":
        """Open the bag.

        Raises:
            InputError: it is no bag, or so broken that nothing can be read.
            OutputError: it is compressed, and there is no room to unpack it.
        """
        with ExitStack() as opened:
            try:
                self._storages = self._open(opened)
            except SdcpcError:
                raise
            except Exception as err:  # Broken files can raise anything.
                raise InputError(f"{self._path} is not a readable bag: {err or type(err).__name__}") from err
            self._topics: dict[tuple[str, str, str], Connection] = {}
            for connection in (c for storage in self._storages for c in storage.connections):
                known = self._topics.get(identity(connection))
                count = connection.msgcount + (known.msgcount if known else 0)
                named = connection._replace(msgtype=normal_type(connection.msgtype))
                self._topics[identity(connection)] = (known or named)._replace(msgcount=count)
            if self.damage and not any(connection.msgcount for connection in self.connections):
                raise InputError(f"{self._path} is not a readable bag: {self.damage}, and holds no message")
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._opened.close()

    @property
    def connections(self) -> list["Connection"]:
        """Every topic with its type, definition and quality of service, once per quality of service."""
        return list(self._topics.values())

    def count(self, *topics: str) -> int:
        """Number of messages on some topics; of a bag that is cut off it may be a little too large."""
        return sum(connection.msgcount for connection in self.connections if connection.topic in topics)

    def image_topics(self, topics: Sequence[str] = ()) -> list[str]:
        """Check the names of image topics, or find the only one.

        Raises:
            InputError: no such topic, not images, no messages, or several image topics to choose from.
        """
        type_of = {connection.topic: connection.msgtype for connection in self.connections}
        for topic in topics:
            if topic not in type_of:
                listing = ", ".join(f"{name} ({msgtype})" for name, msgtype in sorted(type_of.items()))
                raise InputError(f"{self._path} has no topic {topic}; it has {listing or 'no topics at all'}")
            if type_of[topic] not in IMAGE_TYPES:
                raise InputError(f"{topic} carries {type_of[topic]}, not images ({' or '.join(IMAGE_TYPES)})")
            if not self.count(topic):
                raise InputError(f"{self._path} has no messages on {topic}")
        if topics:
            return list(dict.fromkeys(topics))
        images = sorted(name for name, msgtype in type_of.items() if msgtype in IMAGE_TYPES and self.count(name))
        if not images:
            raise InputError(f"{self._path} holds no images; its topics are {', '.join(sorted(type_of)) or 'none'}")
        if len(images) > 1:
            raise InputError(f"{self._path} has several image topics, choose with --topic: {', '.join(images)}")
        return images

    def messages(
        self, *topics: str, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple["Connection", int, bytes]]:
        """Read the messages in the order they were recorded.

        Args:
            topics: only these; all when none is named.
            start_ns: leave out what was recorded before (ns).
            stop_ns: leave out what was recorded then or later (ns).

        Yields:
            Connection, time of recording (ns) and serialized message.

        Raises:
            InputError: the bag is broken from here on.
        """
        from sdcpc_ros.bag_files import unpack_message

        try:
            for storage in self._storages:
                wanted = [connection for connection in storage.connections if not topics or connection.topic in topics]
                if not wanted:
                    continue
                for connection, bag_ns, raw in storage.messages(wanted, start_ns, stop_ns):
                    yield self._topics[identity(connection)], bag_ns, unpack_message(raw)
        except Exception as err:  # Broken files can raise anything.
            raise InputError(f"{self._path} cannot be read to its end: {err or type(err).__name__}") from err

    def _open(self, opened: ExitStack) -> list[Any]:
        """Open what the path stands for; each has ``connections``, ``messages`` and ``close`` as in rosbags."""
        from rosbags.rosbag2 import Reader

        from sdcpc_ros.bag_files import COMPRESSED_SUFFIX, is_cut_off, is_recording, is_ros1, recordings_in
        from sdcpc_ros.ros1_bag import Ros1Recording

        path = self._path
        if is_ros1(path):
            storage = Ros1Recording(path)
            storage.open()
            opened.callback(storage.close)
            if storage.is_cut_off:
                self.damage = f"{path.name} is cut off"
            return [storage]
        if path.is_file():
            if not is_recording(path):
                raise InputError(f"{path} is not a bag: a rosbag2 folder, a file .mcap or .db3, or a ROS 1 bag")
            return self._open_files([path], opened)
        files = recordings_in(path)
        has_metadata = (path / "metadata.yaml").exists()
        if has_metadata and not any(is_cut_off(file) for file in files if file.suffix != COMPRESSED_SUFFIX):
            try:
                storage = Reader(path)
                storage.open()
            except Exception as err:
                # A file that is missing, or compressed and cut off, leaves the others.
                self.damage = f"{err}".rstrip(".")
            else:
                opened.callback(storage.close)
                return [storage]
        if not files:
            found = self.damage if has_metadata else "it holds neither metadata.yaml nor .mcap nor .db3 files"
            raise InputError(f"{path} is not a readable bag: {found}")
        return self._open_files(files, opened)

    def _open_files(self, files: list[Path], opened: ExitStack) -> list[Any]:
        from sdcpc_ros.bag_files import COMPRESSED_SUFFIX, is_cut_off, open_recording, unpack_file

        folder = None
        storages = []
        cut_off = []
        for file in files:
            is_whole = True
            if file.suffix == COMPRESSED_SUFFIX:
                folder = folder or Path(opened.enter_context(TemporaryDirectory()))
                file, is_whole = unpack_file(file, folder)
            if not is_whole or is_cut_off(file):
                cut_off.append(file.name)
            storages.append(open_recording(file))
            opened.callback(storages[-1].close)
        if cut_off:
            self.damage = f"{', '.join(cut_off)} is cut off"
        return storages


def normal_type(msgtype: str) -> str:
    """Name of a message type as ROS 2 writes it; some recorders leave out ``msg/``."""
    package, _, name = msgtype.rpartition("/")
    return msgtype if "/" in package or not package else f"{package}/msg/{name}"


def identity(connection: "Connection") -> tuple[str, str, str]:
    """What makes messages belong together: topic, type and quality of service."""
    return connection.topic, normal_type(connection.msgtype), str(connection.ext)
