"""ROS 1 bags, read as if they had been recorded with ROS 2."""

from collections.abc import Collection, Iterator
from pathlib import Path

from rosbags.convert.converter import LATCH
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

HEADER = "std_msgs/msg/Header"


class Ros1Recording:
    """A ROS 1 bag whose messages arrive in the serialization of ROS 2.

    The definitions stay those that the bag holds: a type that ROS 2 has changed keeps its old fields.

    Attributes:
        connections: topics, their types named as in ROS 2.
    """

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self.connections: list[Connection] = []

    def open(self) -> None:
        """Read the topics and their types.

        Raises:
            Exception: the bag is broken; rosbags raises what it meets.
        """
        self._reader.open()
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
