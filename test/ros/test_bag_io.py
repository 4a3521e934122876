from pathlib import Path

import numpy as np
import pytest

from sdcpc_core.errors import InputError, OutputError

pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from sdcpc_ros.bag_io import COMPRESSED_IMAGE, IMAGE, decode, standard_types
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter

FOREVER = QosTime(2147483647, 4294967295)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    FOREVER,
    FOREVER,
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)
OWN_TYPE = "robot_msgs/msg/Wheel"
OWN_DEFINITION = (
    "float64 speed\nstd_msgs/Header header\n"
    + "=" * 80
    + "\nMSG: std_msgs/Header\n"
    + (
        "builtin_interfaces/Time stamp\nstring frame_id\n" + "=" * 80 + "\nMSG: builtin_interfaces/Time\n"
        "int32 sec\nuint32 nanosec\n"
    )
)


def image(stamp_ns: int, size_hw: tuple[int, int] = (8, 12)):
    types = standard_types().types
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id="camera"
    )
    height, width = size_hw
    data = np.random.default_rng(stamp_ns).integers(0, 255, height * width * 3, np.uint8)
    return types[IMAGE](header, height, width, "rgb8", 0, 3 * width, data)


def text(data: str):
    return standard_types().types["std_msgs/msg/String"](data)


def make_bag(path: Path, storage: StoragePlugin) -> Path:
    """Two image topics, a latched topic, a type of one's own and a topic without messages."""
    types = standard_types()
    with Writer(path, version=8, storage_plugin=storage) as writer:
        camera = writer.add_connection("/camera/image_raw", IMAGE, typestore=types)
        other = writer.add_connection("/rear/image_raw/compressed", COMPRESSED_IMAGE, typestore=types)
        latched = writer.add_connection(
            "/robot", "std_msgs/msg/String", typestore=types, offered_qos_profiles=[LATCHED]
        )
        wheel = writer.add_connection("/wheel", OWN_TYPE, msgdef=OWN_DEFINITION, rihs01="RIHS01_" + "1" * 64)
        writer.add_connection("/silent", "std_msgs/msg/String", typestore=types)
        writer.write(latched, 5, types.serialize_cdr(text("rover"), "std_msgs/msg/String"))
        for stamp_ns in (10, 20, 30):
            writer.write(camera, stamp_ns, types.serialize_cdr(image(stamp_ns), IMAGE))
            writer.write(wheel, stamp_ns + 1, b"\x00\x01\x00\x00" + bytes(range(24)))
        compressed = types.types[COMPRESSED_IMAGE](image(40).header, "jpeg", np.zeros(3, np.uint8))
        writer.write(other, 40, types.serialize_cdr(compressed, COMPRESSED_IMAGE))
    return path


def contents(path: Path) -> list[tuple[str, str, int, bytes]]:
    with BagReader(path) as reader:
        return [(c.topic, c.msgtype, bag_ns, bytes(raw)) for c, bag_ns, raw in reader.messages()]


@pytest.fixture(params=list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def bag(request, tmp_path) -> Path:
    return make_bag(tmp_path / "bag", request.param)


def test_messages_come_in_order(bag):
    with BagReader(bag) as reader:
        assert [bag_ns for _, bag_ns, _ in reader.messages()] == [5, 10, 11, 20, 21, 30, 31, 40]
        assert [bag_ns for _, bag_ns, _ in reader.messages("/camera/image_raw")] == [10, 20, 30]
        assert list(reader.messages("/silent")) == list(reader.messages("/absent")) == []
        (_, _, raw), *_ = reader.messages("/camera/image_raw")
    np.testing.assert_array_equal(decode(raw, IMAGE).data, image(10).data)


def test_a_bare_recording_is_a_bag_too(bag):
    (recording,) = (p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    whole = contents(bag)
    assert contents(recording) == whole
    (bag / "metadata.yaml").unlink()
    assert contents(bag) == whole


@pytest.mark.parametrize("name", ["copy", "copy.mcap"])
def test_a_copy_is_untouched(bag, tmp_path, name):
    copy = tmp_path / "new folder" / name
    with BagReader(bag) as reader, BagWriter(copy) as writer:
        writer.copy_topics(reader)
        for _ in writer.copy_messages(reader, "/camera/image_raw"):
            pass
    assert copy.is_file() == (name == "copy.mcap")
    assert [p.name for p in copy.parent.iterdir()] == [name]
    assert contents(copy) == contents(bag)
    with BagReader(bag) as before, BagReader(copy) as after:
        for old, new in zip(before.connections, after.connections, strict=True):
            assert (old.topic, old.msgtype, old.msgdef, old.ext) == (new.topic, new.msgtype, new.msgdef, new.ext)
            assert new.digest in ("", old.digest)


def test_new_topics_join_the_copied_ones(bag, tmp_path):
    with BagReader(bag) as reader, BagWriter(tmp_path / "more.mcap") as writer:
        writer.copy_topics(reader)
        label = writer.add_topic("/segmentation/label", IMAGE)
        writer.write(label, 12, image(12))
        with pytest.raises(OutputError, match="has a topic /camera/image_raw already"):
            writer.add_topic("/camera/image_raw", IMAGE)
    ((topic, _, bag_ns, raw),) = contents(tmp_path / "more.mcap")
    assert (topic, bag_ns) == ("/segmentation/label", 12)
    np.testing.assert_array_equal(decode(raw, IMAGE).data, image(12).data)


def test_two_publishers_of_a_topic_become_one(tmp_path):
    types = standard_types()
    raw = types.serialize_cdr(text("a"), "std_msgs/msg/String")
    with Writer(tmp_path / "two", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for i, qos in enumerate([[], [LATCHED]]):
            connection = writer.add_connection(
                "/talk", "std_msgs/msg/String", typestore=types, offered_qos_profiles=qos
            )
            writer.write(connection, i, raw)
            # What two publishers with the same quality of service look like.
            writer.connections[-1] = connection._replace(topic="/elsewhere")
            again = writer.add_connection("/talk", "std_msgs/msg/String", typestore=types, offered_qos_profiles=qos)
            writer.connections[i * 2] = connection
            writer.write(again, 10 + i, raw)
    with BagReader(tmp_path / "two") as reader, BagWriter(tmp_path / "copy.mcap") as writer:
        assert [connection.msgcount for connection in reader.connections] == [2, 2], "by quality of service"
        writer.copy_topics(reader)
        for _ in writer.copy_messages(reader, "/camera/image_raw"):
            pass
    assert contents(tmp_path / "copy.mcap") == contents(tmp_path / "two")


def test_image_topics_are_found(bag, tmp_path):
    with BagReader(bag) as reader:
        assert reader.image_topics(["/camera/image_raw"]) == ["/camera/image_raw"]
        both = ["/rear/image_raw/compressed", "/camera/image_raw"]
        assert reader.image_topics([*both, both[0]]) == both
        assert reader.count(*both) == 4
        assert reader.count("/camera/image_raw") == 3
        with pytest.raises(InputError, match=r"choose with --topic: /camera/image_raw, /rear/image_raw/compressed"):
            reader.image_topics()
        with pytest.raises(
            InputError, match=r"has no topic /front; it has /camera/image_raw \(sensor_msgs/msg/Image\), "
        ):
            reader.image_topics(["/front"])
        with pytest.raises(InputError, match="carries std_msgs/msg/String, not images"):
            reader.image_topics(["/robot"])
    with BagReader(bag) as reader, BagWriter(tmp_path / "one.mcap") as writer:
        writer.write(writer.add_topic("/only", IMAGE), 1, image(1))
        writer.write(writer.add_topic("/robot", "std_msgs/msg/String"), 2, text("rover"))
        writer.add_topic("/unused", IMAGE)
    with BagReader(tmp_path / "one.mcap") as reader:
        assert reader.image_topics() == ["/only"]
        with pytest.raises(InputError, match="has no messages on /unused"):
            reader.image_topics(["/unused"])
    with BagWriter(tmp_path / "none.mcap") as writer:
        writer.write(writer.add_topic("/robot", "std_msgs/msg/String"), 2, text("rover"))
    with (
        BagReader(tmp_path / "none.mcap") as reader,
        pytest.raises(InputError, match=r"holds no images; .* are /robot"),
    ):
        reader.image_topics()


def test_what_is_not_a_bag_is_said(tmp_path):
    for name, reason in [
        ("absent", "no bag at"),
        ("notes.txt", "is not a bag: a rosbag2 folder, a file"),
        ("old.bag", "is not a readable bag: File magic is invalid"),
        ("empty", "neither metadata.yaml nor"),
    ]:
        path = tmp_path / name
        if "." in name:
            path.write_text("hello")
        elif name != "absent":
            path.mkdir()
        with pytest.raises(InputError, match=reason), BagReader(path):
            pass


@pytest.mark.parametrize("content", [b"", b"hello, this is no bag", b"\x89MCAP0\r\n", b"SQLite format 3\x00"])
@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_garbage_is_an_input_error(tmp_path, content, suffix):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(InputError, match="is not a readable bag"), BagReader(tmp_path / f"x{suffix}"):
        pass


def test_a_damaged_bag_is_an_input_error(tmp_path):
    with BagWriter(tmp_path / "long.mcap") as writer:
        camera = writer.add_topic("/camera", IMAGE)
        for stamp_ns in range(8):
            writer.write(camera, stamp_ns, image(stamp_ns, (300, 400)))
    data = bytearray((tmp_path / "long.mcap").read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    (tmp_path / "long.mcap").write_bytes(data)
    with BagReader(tmp_path / "long.mcap") as reader, pytest.raises(InputError, match="cannot be read to its end"):
        list(reader.messages())


def test_broken_messages_are_input_errors():
    with pytest.raises(InputError, match="not a readable sensor_msgs/msg/Image"):
        decode(b"\x00\x01\x00\x00short", IMAGE)


@pytest.mark.parametrize("name", ["out", "out.mcap"])
def test_nothing_half_written_remains(tmp_path, name):
    def interrupted():
        with BagWriter(tmp_path / name) as writer:
            writer.write(writer.add_topic("/camera", IMAGE), 1, image(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def write_one(path: Path, stamp_ns: int, **options) -> None:
    with BagWriter(path, **options) as writer:
        writer.write(writer.add_topic("/camera", IMAGE), stamp_ns, image(stamp_ns))


@pytest.mark.parametrize("name", ["out", "out.mcap"])
def test_an_existing_bag_is_kept_unless_told(tmp_path, name):
    write_one(tmp_path / name, 1)
    with pytest.raises(OutputError, match="exists; choose another name or pass --overwrite"):
        write_one(tmp_path / name, 2)
    assert contents(tmp_path / name)[0][2] == 1
    write_one(tmp_path / name, 3, overwrite=True)
    assert contents(tmp_path / name)[0][2] == 3
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_no_bag_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="no earlier result; it is not overwritten"):
        write_one(tmp_path / "home", 1, overwrite=True)


@pytest.mark.parametrize("name", ["thesis.tex", "other.mcap", "photos"])
def test_what_lies_beside_a_bag_is_never_lost(tmp_path, name):
    write_one(tmp_path / "drive", 1)
    (tmp_path / "drive" / name).mkdir() if name == "photos" else (tmp_path / "drive" / name).touch()
    with pytest.raises(OutputError, match="it is not overwritten"):
        write_one(tmp_path / "drive", 2, overwrite=True)
    (tmp_path / "drive" / name).rename(tmp_path / "elsewhere")
    write_one(tmp_path / "drive", 3, overwrite=True)
    assert contents(tmp_path / "drive")[0][2] == 3


def test_a_name_that_cannot_become_a_bag_is_said_at_once(bag, tmp_path):
    for name in ("in.db3", "in.bag"):
        with pytest.raises(OutputError, match=r"a new bag is named \.mcap"):
            BagWriter(tmp_path / name, overwrite=True)
    (tmp_path / "notes").touch()
    with pytest.raises(OutputError, match="is a file, and the bag would be a folder"):
        BagWriter(tmp_path / "notes", overwrite=True)


def test_a_folder_may_be_called_bag(bag):
    whole = contents(bag)
    assert contents(bag.rename(bag.with_name("drive.bag"))) == whole


@pytest.mark.parametrize("frames", [1, 10])
def test_a_full_disk_is_an_output_error(tmp_path, full_disk, frames):
    def fill():
        with BagWriter(tmp_path / "full.mcap") as writer:
            camera = writer.add_topic("/camera", IMAGE)
            for stamp_ns in range(frames):
                writer.write(camera, stamp_ns, image(stamp_ns, (300, 400)))

    with full_disk(100_000), pytest.raises(OutputError, match=r"cannot write .*full\.mcap"):
        fill()
    assert list(tmp_path.iterdir()) == []
