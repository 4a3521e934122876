"""Writing bags through rosbags, whole or not at all, with no ROS installation."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import OutputError
from sdcpc_core.output import atomic_output, check_output, output_errors
from sdcpc_ros.bag_io import standard_types
from sdcpc_ros.bag_reader import BagReader, identity

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

RECORDING_SUFFIXES = (".mcap", ".db3", ".zstd")


class BagWriter:
    """Writes a bag in MCAP format, compressed; a context manager.

    A name that ends in ``.mcap`` becomes one bare file, any other a rosbag2 folder with ``metadata.yaml``. Both play
    with ``ros2 bag play``; ROS 2 Humble needs its package ``rosbag2-storage-mcap``, and ``-s mcap`` for a bare file.
    The bag takes its name when the block ends without an error; before that, and after an error, nothing of it is
    there.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Prepare to write.

        Raises:
            OutputError: the path exists and ``overwrite`` is off, it is a folder that is not a bag or holds more than
                that, a file where the bag is to be a folder, or named like a bag of another format.
        """
        self._path = Path(path)
        self._overwrite = overwrite
        self._copies: dict[tuple[str, str, str], Connection] = {}
        if self._path.suffix in (".db3", ".bag"):
            raise OutputError(f"cannot write {path}: a new bag is named .mcap, or has no suffix and is a folder")
        check_output(path, overwrite=overwrite, is_ours=self._is_ours)
        if self._path.is_file() and not self._is_file:
            raise OutputError(f"{path} is a file, and the bag would be a folder; choose another name or one in .mcap")

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

        with atomic_output(self._path, overwrite=self._overwrite, is_ours=self._is_ours) as draft:
            folder = draft.with_suffix("") if self._is_file else draft
            # Version 8 is the newest that every supported distribution reads.
            self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            try:
                with output_errors(self._path):
                    self._writer.open()
                yield
                with output_errors(self._path):
                    self._writer.close()
            except BaseException:
                self._writer.abort()
                raise
            if self._is_file:
                (folder / draft.name).rename(draft)

    @property
    def _is_file(self) -> bool:
        return self._path.suffix == ".mcap"

    def _is_ours(self, folder: Path) -> bool:
        # What else lies in the folder of a bag would go with it.
        try:
            metadata = (folder / "metadata.yaml").read_text(errors="replace")
        except OSError:
            return False
        others = (entry for entry in folder.iterdir() if entry.name != "metadata.yaml")
        return not self._is_file and all(
            entry.suffix in RECORDING_SUFFIXES and entry.is_file() and entry.name in metadata for entry in others
        )

    def copy_topics(self, reader: BagReader, *, without: Collection[str] = ()) -> None:
        """Announce the topics of another bag, those without messages too.

        Args:
            reader: the other bag.
            without: topics to leave out.
        """
        for connection in reader.connections:
            if connection.topic not in without:
                self._copies[identity(connection)] = self._copy_topic(connection)

    def copy_messages(
        self,
        reader: BagReader,
        *topics: str,
        start_ns: int | None = None,
        stop_ns: int | None = None,
        shift_ns: int = 0,
    ) -> Iterator[tuple["Connection", int, bytes]]:
        """Copy every message of the announced topics as it is, and pass those of some topics on.

        Args:
            reader: the bag given to ``copy_topics``.
            topics: the messages to pass on, each after it was copied.
            start_ns: leave out what was recorded before (ns).
            stop_ns: leave out what was recorded then or later (ns).
            shift_ns: added to the times of recording (ns).

        Yields:
            Connection, time of recording (ns) and serialized message.

        Raises:
            InputError: the other bag is broken.
            OutputError: this one cannot be written.
        """
        for connection, bag_ns, raw in reader.messages(start_ns=start_ns, stop_ns=stop_ns):
            if identity(connection) in self._copies:
                self.write(self._copies[identity(connection)], bag_ns + shift_ns, raw)
            if connection.topic in topics:
                yield connection, bag_ns + shift_ns, raw

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

    def add_topic(self, topic: str, msgtype: str) -> "Connection":
        """Announce a topic of a standard type, after those that are copied.

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
        with output_errors(self._path):
            self._writer.write(connection, bag_ns, raw)
