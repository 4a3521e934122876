"""ROS 1 bags, read as if they had been recorded with ROS 2."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path

from rosbags.convert.converter import LATCH
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.rosbag1.reader import Header, IndexData, RecordType, read_uint32
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

HEADER = "std_msgs/msg/Header"
MAGIC = b"#ROSBAG V2.0\n"


def has_magic(path: Path) -> bool:
    """Whether a file begins as a ROS 1 bag does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


class CutOffRos1(Reader):
    """A ROS 1 bag without its end: the chunks that are whole, with the index the end would have held."""

    def open(self) -> None:
        """Walk over the records."""
        self.bio = self.path.open("rb")
        size = self.bio.seek(0, io.SEEK_END)
        offset = len(MAGIC)
        known: dict[int, Connection] = {}
        while offset + 8 <= size:
            self.bio.seek(offset)
            try:
                header = Header.read(self.bio)
                end = read_uint32(self.bio)
            except ReaderError:
                break
            end += self.bio.tell()
            if end > size:
                break
            if header.get_uint8("op") == RecordType.CHUNK:
                self._index_chunk(offset, known)
            offset = end
        for index in self.indexes.values():
            index.sort()
        self.connections = [c._replace(msgcount=len(self.indexes[c.id])) for c in known.values()]

    def _index_chunk(self, offset: int, known: dict[int, Connection]) -> None:
        file = self.bio
        file.seek(offset)
        chunk = self.chunks[offset] = self.read_chunk()
        file.seek(chunk.datapos)
        records = io.BytesIO(chunk.decompressor(file.read(chunk.datasize)))
        size = len(records.getbuffer())
        while (place := records.tell()) < size:
            header = Header.read(records)
            if header.get_uint8("op") == RecordType.CONNECTION:
                records.seek(place)
                # What rosbags reads of a file it reads of a chunk as well.
                self.bio = records
                connection = self.read_connection()
                self.bio = file
                known.setdefault(connection.id, connection)
                self.indexes.setdefault(connection.id, [])
            else:
                self.indexes[header.get_uint32("conn")].append(IndexData(header.get_time("time"), offset, place))
                records.seek(read_uint32(records), io.SEEK_CUR)


class Ros1Recording:
    """A ROS 1 bag whose messages arrive in the serialization of ROS 2.

    The definitions stay those that the bag holds: a type that ROS 2 has changed keeps its old fields.

    Attributes:
        connections: topics, their types named as in ROS 2.
        is_cut_off: whether the end of the bag is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.connections: list[Connection] = []
        self.is_cut_off = False

    def open(self) -> None:
        """Read the topics and their types.

        Raises:
            Exception: the bag is broken; rosbags raises what it meets.
        """
        self._reader = Reader(self._path)
        try:
            self._reader.open()
        except ReaderError:
            if not has_magic(self._path):
                raise
            self._reader = CutOffRos1(self._path)
            self._reader.open()
            self.is_cut_off = True
        self._types = get_typestore(Stores.EMPTY)
        definitions = {}
        for connection in self._reader.connections:
            definitions |= get_types_from_msg(connection.msgdef.data, connection.msgtype)
        # In ROS 2 a header counts no messages.
        definitions[HEADER] = get_typestore(Stores.ROS2_HUMBLE).fielddefs[HEADER]
        self._types.register(definitions)
        for connection in self._reader.connections:
            text, _ = self._types.generate_msgdef(connection.msgtype, ros_version=2)
            self.connections.append(
                connection._replace(
                    msgdef=MessageDefinition(MessageDefinitionFormat.MSG, text),
                    digest=self._types.hash_rihs01(connection.msgtype),
                    ext=ConnectionExtRosbag2("cdr", LATCH if connection.ext.latching else []),
                )
            )

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Read as rosbags' readers do."""
        by_id = {connection.id: connection for connection in connections}
        originals = [connection for connection in self._reader.connections if connection.id in by_id]
        for connection, bag_ns, raw in self._reader.messages(originals, start, stop):
            yield by_id[connection.id], bag_ns, bytes(self._types.ros1_to_cdr(raw, connection.msgtype))

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()
