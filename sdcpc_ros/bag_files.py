"""The files of a bag, each opened through rosbags or, where its end is missing, for what it still holds."""

import sqlite3
import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.metadata import parse_qos
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader

from sdcpc_core.errors import OutputError
from sdcpc_core.video import natural_order

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIXES = (".mcap", ".db3")
COMPRESSED_SUFFIX = ".zstd"
MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\0"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FOOTER, CHUNK, DATA_END = 0x02, 0x06, 0x0F
COPY_BYTES = 1 << 20


def recordings_in(folder: Path) -> list[Path]:
    """Files of a bag in the order they were written."""
    files = (p for p in folder.iterdir() if p.is_file() and is_recording(p))
    return sorted(files, key=natural_order)


def is_recording(path: Path) -> bool:
    """Whether a file is named like a recording, compressed or not."""
    return path.suffix in SUFFIXES or (path.suffix == COMPRESSED_SUFFIX and Path(path.stem).suffix in SUFFIXES)


def is_ros1(path: Path) -> bool:
    """Whether a file is named like a ROS 1 bag, or like one whose recorder was killed."""
    return path.is_file() and path.name.endswith((".bag", ".bag.active"))


def is_cut_off(path: Path) -> bool:
    """Whether the end of a recording is missing, or still in the log that a killed recorder leaves beside it."""
    with path.open("rb") as file:
        head = file.read(32)
        size = file.seek(0, 2)
        if path.suffix == ".mcap":
            file.seek(max(0, size - len(MCAP_MAGIC)))
            return head.startswith(MCAP_MAGIC) and (file.read() != MCAP_MAGIC or size == len(MCAP_MAGIC))
    if not head.startswith(SQLITE_MAGIC) or len(head) < 32:
        return False
    page_bytes, pages = struct.unpack_from(">H", head, 16)[0], struct.unpack_from(">I", head, 28)[0]
    log = path.with_name(f"{path.name}-wal")
    return size < (65536 if page_bytes == 1 else page_bytes) * pages or (log.exists() and log.stat().st_size > 0)


def open_recording(path: Path) -> "Reader | CutOffMcap | CutOffSqlite":
    """Open one uncompressed file; a file that is cut off for what it holds up to there.

    Raises:
        Exception: it is no recording; rosbags raises what it meets.
    """
    if not is_cut_off(path):
        reader = Reader(path)
    else:
        reader = CutOffMcap(path) if path.suffix == ".mcap" else CutOffSqlite(path)
    reader.open()
    return reader


def unpack_file(path: Path, folder: Path) -> tuple[Path, bool]:
    """Decompress a file into a folder.

    Returns:
        The new file, and whether the compressed one was whole.

    Raises:
        OutputError: the folder has no room for it.
    """
    unpacked = folder / path.stem
    whole = False
    try:
        with (
            path.open("rb") as packed,
            zstd.open(packed, "rb") as source,
            unpacked.open("wb") as target,
            suppress(EOFError),
        ):
            while block := source.read1(COPY_BYTES):
                target.write(block)
            whole = True
    except OSError as err:
        reason = err.strerror or err
        raise OutputError(
            f"cannot unpack {path} into {folder.parent}: {reason}; TMPDIR names another folder for it"
        ) from err
    return unpacked, whole


def unpack_message(raw: bytes) -> bytes:
    """The bytes of a message that may have been compressed by itself; no serialized message begins like those."""
    return zstd.decompress(raw) if raw[:4] == ZSTD_MAGIC else raw


class CutOffMcap(McapReader):
    """An MCAP file without its end: the records that are whole, with the index the end would have held."""

    def _open(self) -> None:
        if self.bio.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
            raise ReaderError("File magic is invalid.")
        self.data_start = len(MCAP_MAGIC)
        chunks = self._whole_chunks()
        self.meta_scan()
        counts = self.statistics.channel_message_counts
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self.connections]
        # Which channels a chunk holds is told behind it, where the file may end; any may be in any.
        self.chunks = [chunk._replace(channel_count=dict.fromkeys(self.channels, 1)) for chunk in chunks]

    def _whole_chunks(self) -> list[ChunkInfo]:
        """Walk over the records, set ``data_end`` behind the last whole one, and tell where the chunks are."""
        chunks = []
        size = self.bio.seek(0, 2)
        offset = self.data_start
        while offset + 9 <= size:
            self.bio.seek(offset)
            kind, length = struct.unpack("<BQ", self.bio.read(9))
            end = offset + 9 + length
            if end > size or kind in (DATA_END, FOOTER):
                break
            if kind == CHUNK:
                first_ns, last_ns, unpacked, _, name_length = struct.unpack("<QQQII", self.bio.read(32))
                compression = self.bio.read(name_length).decode()
                (packed,) = struct.unpack("<Q", self.bio.read(8))
                chunks.append(
                    ChunkInfo(first_ns, last_ns, offset, end - offset, {}, 0, compression, packed, unpacked, {})
                )
            offset = end
        self.data_end = offset
        return chunks


class CutOffSqlite:
    """An SQLite file without its end, or with part of it in a log: the messages that can be read, as they came.

    Attributes:
        connections: topics, each with the number of messages that may be readable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.connections: list[Connection] = []

    def open(self) -> None:
        """Read the topics.

        Raises:
            sqlite3.Error: not even these are there.
        """
        # Not "immutable": that would leave out the log.
        self._database = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
        self._database.row_factory = sqlite3.Row
        # Without this a file shorter than it says is refused as a whole; nothing is written.
        self._database.execute("PRAGMA writable_schema = ON")
        tables = {row[0] for row in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        definitions = {}
        if "message_definitions" in tables:
            for row in self._database.execute("SELECT * FROM message_definitions"):
                kind = MessageDefinitionFormat.MSG if row["encoding"] == "ros2msg" else MessageDefinitionFormat.IDL
                definitions[row["topic_type"]] = MessageDefinition(kind, row["encoded_message_definition"])
        counts: dict[int, int] = {}
        for (topic,) in self._rows("SELECT topic_id FROM messages NOT INDEXED ORDER BY id"):
            counts[topic] = counts.get(topic, 0) + 1
        none = MessageDefinition(MessageDefinitionFormat.NONE, "")
        for row in self._database.execute("SELECT * FROM topics"):
            given = dict(row)
            self.connections.append(
                Connection(
                    given["id"],
                    given["name"],
                    given["type"],
                    definitions.get(given["type"], none),
                    given.get("type_description_hash", ""),
                    counts.get(given["id"], 0),
                    ConnectionExtRosbag2(
                        given["serialization_format"], parse_qos(given.get("offered_qos_profiles", ""))
                    ),
                    self,
                )
            )

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Read as rosbags' readers do, up to the first message that is broken."""
        by_id = {connection.id: connection for connection in connections}
        rows = self._rows("SELECT topic_id, timestamp, data FROM messages NOT INDEXED ORDER BY id")
        for topic, bag_ns, data in rows:
            if topic in by_id and (start is None or bag_ns >= start) and (stop is None or bag_ns < stop):
                yield by_id[topic], bag_ns, data

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self, query: str) -> Iterator[sqlite3.Row]:
        with suppress(sqlite3.DatabaseError):
            yield from self._database.execute(query)
