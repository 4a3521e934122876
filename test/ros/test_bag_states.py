"""Bags as people have them: compressed, split, cut off, of ROS 1."""

import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sdcpc_core.errors import InputError, OutputError

pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sdcpc_ros.bag_io import IMAGE, decode_frame, stamp_of, standard_types, with_stamp
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter

CAMERA, TALK = "/camera", "/talk"
STRING = "std_msgs/msg/String"
FRAMES = 12
WHOLE = [(topic, 1000 * i + shift) for i in range(1, FRAMES + 1) for topic, shift in ((CAMERA, 0), (TALK, 5))]


def pixels(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (60, 80, 3), np.uint8)


def image(types, index: int, stamp_ns: int):
    time = types["builtin_interfaces/msg/Time"](sec=0, nanosec=stamp_ns)
    ros1 = {"seq": index} if "seq" in types["std_msgs/msg/Header"].__annotations__ else {}
    header = types["std_msgs/msg/Header"](stamp=time, frame_id="front", **ros1)
    return types[IMAGE](header, 60, 80, "rgb8", 0, 240, pixels(index).reshape(-1))


def write(
    path: Path, plugin: StoragePlugin, mode=CompressionMode.NONE, indices=range(1, FRAMES + 1), names=IMAGE
) -> Path:
    types = standard_types()
    writer = Writer(path, version=8, storage_plugin=plugin)
    if mode != CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        definition, _ = types.generate_msgdef(IMAGE, ros_version=2)
        camera = writer.add_connection(CAMERA, names, msgdef=definition, rihs01=types.hash_rihs01(IMAGE))
        talk = writer.add_connection(TALK, STRING, typestore=types)
        for index in indices:
            writer.write(camera, 1000 * index, types.serialize_cdr(image(types.types, index, 7 * index), IMAGE))
            writer.write(talk, 1000 * index + 5, types.serialize_cdr(types.types[STRING](f"word {index}"), STRING))
    return path


def read(path: Path) -> list[tuple[str, int]]:
    """Topic and time of every message; every picture must be whole."""
    with BagReader(path) as reader:
        assert {connection.msgtype for connection in reader.connections} == {IMAGE, STRING}
        found = []
        for connection, bag_ns, raw in reader.messages():
            found.append((connection.topic, bag_ns))
            if connection.topic == CAMERA:
                np.testing.assert_array_equal(decode_frame(raw, IMAGE)[1], pixels(bag_ns // 1000))
                assert stamp_of(raw) == 7 * bag_ns // 1000
    return found


def damage(path: Path) -> str:
    with BagReader(path) as reader:
        return reader.damage


def recording(folder: Path) -> Path:
    (path,) = (p for p in folder.iterdir() if p.name != "metadata.yaml")
    return path


@pytest.mark.parametrize("plugin", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE], ids=lambda mode: mode.name.lower())
def test_compressed_bags(tmp_path, plugin, mode):
    bag = write(tmp_path / "bag", plugin, mode)
    assert read(bag) == WHOLE
    file = recording(bag)
    assert (file.suffix == ".zstd") == (mode == CompressionMode.FILE)
    assert read(file) == WHOLE
    (bag / "metadata.yaml").unlink()
    assert read(bag) == WHOLE
    assert damage(bag) == ""


@pytest.mark.parametrize("plugin", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def test_a_split_bag_needs_no_metadata(tmp_path, plugin):
    bag = tmp_path / "split"
    bag.mkdir()
    parts = [range(1, 3), range(3, 7), range(7, 7), range(7, FRAMES + 1)]
    for number, indices in zip((0, 1, 2, 10), parts, strict=True):
        file = recording(write(tmp_path / f"part{number}", plugin, indices=indices))
        shutil.move(file, bag / f"split_{number}{file.suffix}")
    assert read(bag) == WHOLE
    with BagReader(bag) as reader:
        assert reader.count(CAMERA) == FRAMES
        assert len(reader.connections) == 2
        between = reader.messages(CAMERA, start_ns=2000, stop_ns=5000)
        assert [bag_ns for _, bag_ns, _ in between] == [2000, 3000, 4000]


@pytest.mark.parametrize("plugin", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def test_types_may_be_written_as_in_ros_1(tmp_path, plugin):
    bag = write(tmp_path / "bag", plugin, names="sensor_msgs/Image")
    assert read(bag) == WHOLE
    with BagReader(bag) as reader:
        assert reader.image_topics() == [CAMERA]


@pytest.mark.parametrize(
    ("plugin", "mode"),
    [
        (StoragePlugin.MCAP, CompressionMode.NONE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_bag_that_is_cut_off_gives_what_it_holds(tmp_path, plugin, mode, share):
    bag = write(tmp_path / "bag", plugin, mode, indices=range(1, 200))
    file = recording(bag)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    whole = [(topic, 1000 * i + shift) for i in range(1, 200) for topic, shift in ((CAMERA, 0), (TALK, 5))]
    for _ in range(2):
        found = read(bag)
        assert found == whole[: len(found)]
        # What is cut off is at most one chunk of a megabyte, and what lies behind.
        assert len(found) > (share - 0.4) * len(whole)
        assert "is cut off" in damage(bag) or "end-of-stream" in damage(bag)
        (bag / "metadata.yaml").unlink(missing_ok=True)


def test_messages_out_of_order_survive_the_cut(tmp_path):
    """Since Jazzy a recorder writes times of reception, which need not grow from topic to topic."""
    with BagWriter(tmp_path / "bag.mcap") as writer:
        talk = writer.add_topic(TALK, STRING)
        camera = writer.add_topic(CAMERA, IMAGE)
        for index in range(1, 100):
            writer.write(talk, 1000 * index + 500, standard_types().types[STRING]("word"))
            writer.write(camera, 1000 * index, image(standard_types().types, index, 7 * index))
    data = (tmp_path / "bag.mcap").read_bytes()
    (tmp_path / "bag.mcap").write_bytes(data[: len(data) * 4 // 5])
    found = read(tmp_path / "bag.mcap")
    assert len(found) > 100
    assert [bag_ns for _, bag_ns in found] == sorted(bag_ns for _, bag_ns in found)


def test_the_log_of_a_killed_recorder_is_read(tmp_path):
    bag = write(tmp_path / "bag", StoragePlugin.SQLITE3, indices=range(1, 7))
    file = recording(bag)
    more = recording(write(tmp_path / "more", StoragePlugin.SQLITE3, indices=range(7, FRAMES + 1)))
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("ATTACH ? AS more", (str(more),))
    rest = "SELECT topic_id, timestamp, data FROM more.messages ORDER BY id"
    database.execute(f"INSERT INTO messages (topic_id, timestamp, data) {rest}")
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in (file.name, f"{file.name}-wal"):
        shutil.copy(bag / name, killed / name)
    database.close()
    assert read(killed) == WHOLE
    assert "is cut off" in damage(killed)


def test_no_room_to_unpack_is_said(tmp_path, full_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bag = write(tmp_path / "bag", StoragePlugin.MCAP, CompressionMode.FILE)
    with (
        full_disk(20_000),
        pytest.raises(OutputError, match=r"cannot unpack .*bag\.mcap\.zstd into .*; TMPDIR names another"),
        BagReader(bag),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_a_missing_part_leaves_the_others(tmp_path):
    bag = write(tmp_path / "bag", StoragePlugin.MCAP)
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap"))
    assert read(bag) == WHOLE
    assert "bag_1.mcap" in damage(bag)


def test_nothing_left_is_an_error(tmp_path):
    file = recording(write(tmp_path / "bag", StoragePlugin.MCAP))
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"is not a readable bag: bag\.mcap is cut off, and holds no message"):
        read(file)


def write_ros1(path: Path, count: int, compression=None) -> Path:
    types = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        camera = writer.add_connection(CAMERA, IMAGE, typestore=types)
        talk = writer.add_connection(TALK, STRING, typestore=types, latching=1)
        for index in range(1, count + 1):
            writer.write(camera, 1000 * index, types.serialize_ros1(image(types.types, index, 7 * index), IMAGE))
            writer.write(talk, 1000 * index + 5, types.serialize_ros1(types.types[STRING](f"word {index}"), STRING))
    return path


@pytest.mark.parametrize("compression", [None, *Writer1.CompressionFormat])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_ros_1_bag_that_is_cut_off_gives_what_it_holds(tmp_path, compression, share):
    path = write_ros1(tmp_path / "old.bag", 200, compression)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    whole = [(topic, 1000 * i + shift) for i in range(1, 201) for topic, shift in ((CAMERA, 0), (TALK, 5))]
    path = path.rename(tmp_path / "old.bag.active")
    found = read(path)
    assert found == whole[: len(found)]
    assert len(found) > (share - 0.4) * len(whole)
    assert damage(path) == "old.bag.active is cut off"


def test_a_ros_1_bag(tmp_path):
    write_ros1(tmp_path / "old.bag", FRAMES)
    assert read(tmp_path / "old.bag") == WHOLE
    with BagReader(tmp_path / "old.bag") as reader, BagWriter(tmp_path / "new") as copy:
        copy.copy_topics(reader)
        assert sum(1 for _ in copy.copy_messages(reader, CAMERA)) == FRAMES
    assert read(tmp_path / "new") == WHOLE
    with BagReader(tmp_path / "new") as reader:
        durable = {c.topic: [qos.durability.name for qos in c.ext.offered_qos_profiles] for c in reader.connections}
    assert durable == {CAMERA: [], TALK: ["TRANSIENT_LOCAL"]}, "what was latched stays so"


def test_a_stamp_that_is_zero_becomes_the_time_of_recording():
    types = standard_types()
    unstamped = types.serialize_cdr(image(types.types, 1, 0), IMAGE)
    assert stamp_of(with_stamp(unstamped, 5_000_000_007)) == 5_000_000_007
    np.testing.assert_array_equal(decode_frame(with_stamp(unstamped, 5), IMAGE)[1], pixels(1))
    stamped = types.serialize_cdr(image(types.types, 1, 3), IMAGE)
    assert with_stamp(stamped, 5) is stamped
    big_endian = types.serialize_cdr(image(types.types, 1, 0), IMAGE, little_endian=False)
    assert stamp_of(with_stamp(big_endian, 2_000_000_003)) == 2_000_000_003
