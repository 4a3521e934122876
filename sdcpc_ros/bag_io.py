"""Reading and writing bags through rosbags, with no ROS installation."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import InputError, OutputError
from sdcpc_core.output import atomic_output, check_output, write_error

if TYPE_CHECKING:
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


class BagWriter:
    """Writes a bag in MCAP format, compressed; a context manager.

    A name that ends in ``.mcap`` becomes one bare file, any other a rosbag2 folder with ``metadata.yaml``; both play
    with ``ros2 bag play``. The bag takes its name when the block ends without an error; before that, and after an
    error, nothing of it is there.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Prepare to write.

        Raises:
            OutputError: the path exists and ``overwrite`` is off, or it is a folder that is not a bag.
        """
        self._path = Path(path)
        self._overwrite = overwrite
        check_output(path, overwrite=overwrite)
        if self._path.is_dir() and not (self._path / "metadata.yaml").exists():
            raise OutputError(f"{path} is a folder and not a bag; it is not overwritten")

    def __enter__(self) -> "BagWriter":
        """Create the bag.

        Raises:
            OutputError: it cannot be written.
        """
        self._session = self._writing()
        self._session.__enter__()
        return self

    def __exit__(self, *error) -> None:
        """Finish the bag, or leave nothing of it after an error.

        Raises:
            OutputError: it cannot be written, such as on a full disk.
        """
        self._session.__exit__(*error)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        is_file = self._path.suffix == ".mcap"
        with atomic_output(self._path, overwrite=self._overwrite) as draft:
            folder = draft.with_suffix("") if is_file else draft
            # Version 8 is the newest that every supported distribution reads.
            self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._connection_of: dict[tuple[str, str, str], Connection] = {}
            try:
                with self._system_errors():
                    self._writer.open()
                yield
                with self._system_errors():
                    self._writer.close()
            except BaseException:
                self._writer.abort()
                raise
            if is_file:
                (folder / draft.name).rename(draft)

    @contextmanager
    def _system_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise write_error(self._path, err) from err

    def copy_topics(self, reader: BagReader) -> None:
        """Announce every topic of another bag, those without messages too."""
        for connection in reader.connections:
            # Several publishers of one topic become one.
            if _identity(connection) not in self._connection_of:
                self._connection_of[_identity(connection)] = self._copy_topic(connection)

    def _copy_topic(self, connection: "Connection") -> "Connection":
        definition = connection.msgdef.data
        if not definition and connection.msgtype in standard_types().fielddefs:
            # Older recorders stored none.
            definition, _ = standard_types().generate_msgdef(connection.msgtype, ros_version=2)
        copied = self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=definition,
            rihs01=connection.digest or "unknown",
            serialization_format=connection.ext.serialization_format,
            offered_qos_profiles=connection.ext.offered_qos_profiles,
        )
        # The writer wants a hash; a bag that has none keeps none.
        self._writer.connections[-1] = copied._replace(digest=connection.digest)
        return self._writer.connections[-1]

    def copy(self, connection: "Connection", bag_ns: int, raw: bytes) -> None:
        """Write a message of a copied topic as it is.

        Args:
            connection: of the bag given to ``copy_topics``.
            bag_ns: time of recording (ns).
            raw: serialized message.

        Raises:
            OutputError: it cannot be written.
        """
        with self._system_errors():
            self._writer.write(self._connection_of[_identity(connection)], bag_ns, raw)

    def add_topic(self, topic: str, msgtype: str) -> "Connection":
        """Announce a topic of a standard type.

        Raises:
            OutputError: the bag has this topic already.
        """
        if any(connection.topic == topic for connection in self._writer.connections):
            raise OutputError(f"the bag has a topic {topic} already; choose another --prefix")
        return self._writer.add_connection(topic, msgtype, typestore=standard_types())

    def write(self, connection: "Connection", bag_ns: int, message: Any) -> None:
        """Write a message to a topic of ``add_topic``.

        Args:
            connection: what ``add_topic`` returned.
            bag_ns: time of recording (ns).
            message: message object, or the bytes of a serialized one.

        Raises:
            OutputError: it cannot be written.
        """
        is_raw = isinstance(message, (bytes, memoryview))
        raw = message if is_raw else standard_types().serialize_cdr(message, connection.msgtype)
        with self._system_errors():
            self._writer.write(connection, bag_ns, raw)


def _identity(connection: "Connection") -> tuple[str, str, str]:
    return connection.topic, connection.msgtype, str(connection.ext)


def _storage_of(path: Path) -> Path:
    """What rosbags is to open: a folder with metadata, or the one recording in it."""
    if not path.exists():
        raise InputError(f"no bag at {path}")
    if path.suffix == ".bag":
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
