import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.streaming import Segmenter

pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")

from sdcpc_ros.bag import bag
from sdcpc_ros.bag_io import COMPRESSED_IMAGE, IMAGE, BagReader, decode, standard_types
from sdcpc_ros.bag_writer import BagWriter

CAMERA = "/camera/image_raw"
STRING = "std_msgs/msg/String"
PERIOD_NS = 100_000_000


def frame(index: int) -> np.ndarray:
    noise = np.random.default_rng(index).integers(0, 255, (6, 9, 3), np.uint8)
    return cv2.resize(noise, (96, 64), interpolation=cv2.INTER_CUBIC)


def header(index: int):
    types = standard_types().types
    stamp = types["builtin_interfaces/msg/Time"](sec=7, nanosec=index * PERIOD_NS)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="front_optical")


def image(index: int, encoding: str = "rgb8"):
    pixels = frame(index)
    return standard_types().types[IMAGE](header(index), 64, 96, encoding, 0, 288, pixels.reshape(-1))


def compressed(index: int, suffix: str):
    _, data = cv2.imencode(suffix, cv2.cvtColor(frame(index), cv2.COLOR_RGB2BGR))
    return standard_types().types[COMPRESSED_IMAGE](
        header(index), f"rgb8; {suffix[1:]} compressed bgr8", data.reshape(-1)
    )


def make_bag(path: Path, images: Sequence, topic: str = CAMERA, msgtype: str = IMAGE) -> Path:
    """Images of one camera, recorded 3 ns after each stamp, among messages of another topic."""
    with BagWriter(path) as writer:
        camera, talk = writer.add_topic(topic, msgtype), writer.add_topic("/talk", STRING)
        for index, message in enumerate(images):
            bag_ns = 7 * 10**9 + index * PERIOD_NS
            writer.write(camera, bag_ns + 3, message)
            writer.write(talk, bag_ns + 50, standard_types().types[STRING](f"word {index}"))
    return path


def messages(path: Path, *topics: str) -> list[tuple[str, int, bytes]]:
    with BagReader(path) as reader:
        return [(connection.topic, bag_ns, bytes(raw)) for connection, bag_ns, raw in reader.messages(*topics)]


def run(path: Path, out: Path, small_checkpoint: Path, *more: str) -> None:
    bag([str(path), "--out", str(out), "--checkpoint", str(small_checkpoint), *more])


def pixels(raw: bytes) -> np.ndarray:
    message = decode(raw, IMAGE)
    return message.data.reshape(message.height, message.width, -1).squeeze()


@pytest.mark.parametrize("name", ["labelled", "labelled.mcap"])
def test_labels_join_an_untouched_bag(tmp_path, small_checkpoint, capsys, name):
    source = make_bag(tmp_path / "drive", [image(i) for i in range(5)])
    out, report = tmp_path / name, tmp_path / "report.json"
    run(source, out, small_checkpoint, "--json", str(report))

    assert messages(out, CAMERA, "/talk") == messages(source)
    stream = Segmenter.from_checkpoint(small_checkpoint).stream()
    labels = messages(out, "/segmentation/label")
    assert len(labels) == 5
    for index, (_, bag_ns, raw) in enumerate(labels):
        message = decode(raw, IMAGE)
        assert message.header == header(index)
        assert message.encoding == "mono8"
        assert bag_ns == 7 * 10**9 + index * PERIOD_NS + 3, "recorded together with its image"
        wanted = stream.step(frame(index), 7 * 10**9 + index * PERIOD_NS, frame_id="front_optical")
        np.testing.assert_array_equal(pixels(raw), wanted.label_map)
    assert {topic for topic, _, _ in messages(out)} == {CAMERA, "/talk", "/segmentation/label"}

    assert capsys.readouterr().out.startswith(f"{out}: 5 frames labelled in ")
    facts = json.loads(report.read_text())
    assert (facts["frames"], facts["bad_frames"], facts["topic"]) == (5, {}, CAMERA)


def test_pictures_for_people(tmp_path, small_checkpoint):
    source, out = make_bag(tmp_path / "drive.mcap", [image(0), image(1)]), tmp_path / "out.mcap"
    run(source, out, small_checkpoint, "--prefix", "/offline", "--add", "color", "overlay", "confidence")
    results = {topic: decode(raw, IMAGE) for topic, _, raw in messages(out) if topic.startswith("/offline")}
    assert {topic: message.encoding for topic, message in results.items()} == {
        "/offline/label": "mono8",
        "/offline/color": "rgb8",
        "/offline/overlay": "rgb8",
        "/offline/confidence": "mono8",
    }
    colour = results["/offline/color"].data.reshape(64, 96, 3)
    np.testing.assert_array_equal(colour, CAMVID.colorize(results["/offline/label"].data.reshape(64, 96)))
    assert results["/offline/confidence"].data.min() > 0


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images(tmp_path, small_checkpoint, suffix):
    pictures = [compressed(i, suffix) for i in range(3)]
    topic = f"{CAMERA}/compressed"
    run(make_bag(tmp_path / "drive", pictures, topic, COMPRESSED_IMAGE), tmp_path / "out.mcap", small_checkpoint)
    labels = [pixels(raw) for _, _, raw in messages(tmp_path / "out.mcap", "/segmentation/label")]
    run(make_bag(tmp_path / "raw", [image(i) for i in range(3)]), tmp_path / "raw.mcap", small_checkpoint)
    wanted = [pixels(raw) for _, _, raw in messages(tmp_path / "raw.mcap", "/segmentation/label")]
    same = np.mean(np.array(labels) == np.array(wanted))
    assert same == 1 if suffix == ".png" else same > 0.8


def test_bad_frames_are_counted_and_skipped(tmp_path, small_checkpoint, capsys):
    short = image(3)
    short.data = short.data[:100]
    source = make_bag(tmp_path / "drive", [image(0), image(1, "32FC1"), image(2, "martian"), short, image(4)])
    out, report = tmp_path / "out.mcap", tmp_path / "report.json"
    run(source, out, small_checkpoint, "--json", str(report))
    assert messages(out, CAMERA, "/talk") == messages(source), "bad frames are copied too"
    stamps = [decode(raw, IMAGE).header.stamp.nanosec for _, _, raw in messages(out, "/segmentation/label")]
    assert stamps == [0, 4 * PERIOD_NS]
    bad = json.loads(report.read_text())["bad_frames"]
    assert sorted(bad.values()) == [1, 1, 1]
    assert "1 bad: encoding 'martian' is not supported" in capsys.readouterr().out


def test_undecodable_messages_are_bad_frames(tmp_path, small_checkpoint):
    broken = standard_types().serialize_cdr(image(1), IMAGE)[:40]
    source, report = make_bag(tmp_path / "drive", [image(0), broken]), tmp_path / "report.json"
    run(source, tmp_path / "out.mcap", small_checkpoint, "--json", str(report))
    assert json.loads(report.read_text())["bad_frames"] == {"a message is not a readable sensor_msgs/msg/Image": 1}


def test_a_bag_without_one_usable_frame_is_an_error(tmp_path, small_checkpoint):
    source = make_bag(tmp_path / "drive", [image(0, "32FC1")])
    with pytest.raises(InputError, match="no frame on /camera/image_raw is usable: encoding '32FC1' is depth"):
        run(source, tmp_path / "out.mcap", small_checkpoint)
    assert [p.name for p in tmp_path.iterdir()] == ["drive"]


def test_mistakes_are_said(tmp_path, small_checkpoint):
    source, out = make_bag(tmp_path / "drive", [image(0)]), tmp_path / "out"
    with pytest.raises(InputError, match=r"has no topic /front; it has /camera/image_raw"):
        run(source, out, small_checkpoint, "--topic", "/front")
    with pytest.raises(InputError, match="no bag at"):
        run(tmp_path / "absent", out, small_checkpoint)
    run(source, out, small_checkpoint)
    with pytest.raises(OutputError, match="exists; choose another name or pass --overwrite"):
        run(source, out, small_checkpoint)
    with pytest.raises(OutputError, match="different names"):
        run(source, tmp_path / "twice", small_checkpoint, "--json", str(tmp_path / "twice"))
    with pytest.raises(OutputError, match="has a topic /segmentation/label already; choose another --prefix"):
        run(out, tmp_path / "twice", small_checkpoint, "--topic", CAMERA)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        run(source, tmp_path / "file" / "out.mcap", small_checkpoint)


@pytest.mark.parametrize("prefix", ["", "/", "foo", "/a b", "/a//b", "/a/", "/1st", "~/a"])
def test_a_prefix_is_an_absolute_name(tmp_path, small_checkpoint, prefix):
    with pytest.raises(ConfigError, match="is no absolute ROS name"):
        run(tmp_path / "drive", tmp_path / "out", small_checkpoint, "--prefix", prefix)


def test_a_bag_replaces_itself_when_told(tmp_path, small_checkpoint):
    source = make_bag(tmp_path / "drive", [image(0), image(1)])
    before = messages(source)
    run(source, source, small_checkpoint, "--overwrite")
    assert messages(source, CAMERA, "/talk") == before
    assert len(messages(source, "/segmentation/label")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["drive"]


def test_a_truncated_bag_leaves_nothing(tmp_path, small_checkpoint):
    source = make_bag(tmp_path / "drive.mcap", [image(i) for i in range(4)])
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match="is not a readable bag"):
        run(source, tmp_path / "out.mcap", small_checkpoint)
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mcap"]
