import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdcpc_core.errors import ConfigError, InputError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.streaming import Segmenter

pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")

from rosbags.rosbag2 import StoragePlugin, Writer

from sdcpc_ros.bag import bag
from sdcpc_ros.bag_io import COMPRESSED_IMAGE, IMAGE, decode, image_message, stamp_of, standard_types
from sdcpc_ros.bag_reader import BagReader
from sdcpc_ros.bag_writer import BagWriter

CAMERA = "/camera/image_raw"
STRING = "std_msgs/msg/String"
PERIOD_NS = 100_000_000


def frame(index: int) -> np.ndarray:
    noise = np.random.default_rng(index).integers(0, 255, (6, 9, 3), np.uint8)
    return cv2.resize(noise, (96, 64), interpolation=cv2.INTER_CUBIC)


def header(index: int):
    types = standard_types().types
    sec, nanosec = divmod(7 * 10**9 + index * PERIOD_NS, 10**9)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
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
    assert (facts["frames_sent"], facts["frames_answered"], facts["frames_dropped"]) == (5, 5, 0)
    assert 0 < facts["network_share"] <= 1


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


@pytest.mark.parametrize("prefix", ["/", "foo", "/a b", "/a//b", "/a/", "/1st", "~/a"])
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


def test_a_bag_that_is_cut_off_is_labelled_as_far_as_it_goes(tmp_path, small_checkpoint, capsys):
    source = make_bag(tmp_path / "drive.mcap", [image(i) for i in range(100)])
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 3 // 4])
    run(source, tmp_path / "out.mcap", small_checkpoint)
    assert messages(tmp_path / "out.mcap", CAMERA, "/talk") == messages(source)
    assert 20 < len(messages(tmp_path / "out.mcap", "/segmentation/label")) < 80
    assert "drive.mcap is cut off; what can be read of it was labelled" in capsys.readouterr().err


def test_two_runs_give_the_same_bytes(tmp_path, small_checkpoint):
    source = make_bag(tmp_path / "drive", [image(i) for i in range(6)])
    for name in ("one.mcap", "two.mcap"):
        run(source, tmp_path / name, small_checkpoint, "--device", "cpu")
    assert messages(tmp_path / "one.mcap") == messages(tmp_path / "two.mcap")


def test_frames_without_a_stamp_get_the_time_of_recording(tmp_path, small_checkpoint):
    pictures = [image(i) for i in range(3)]
    for picture in pictures:
        picture.header.stamp.sec = picture.header.stamp.nanosec = 0
    source = make_bag(tmp_path / "drive", pictures)
    run(source, tmp_path / "out.mcap", small_checkpoint)
    assert messages(tmp_path / "out.mcap", CAMERA) == messages(source, CAMERA), "the copies stay as they were"
    for _, bag_ns, raw in messages(tmp_path / "out.mcap", "/segmentation/label"):
        assert stamp_of(raw) == bag_ns


@pytest.mark.parametrize(
    ("topics", "labels"),
    [
        (["/front/image_raw", "/rear/image_raw/compressed"], ["/front/segmentation", "/rear/segmentation"]),
        (["/cam/left", "/cam/right/compressed"], ["/cam/left/segmentation", "/cam/right/segmentation"]),
        (["/left", "/right/compressed"], ["/left/segmentation", "/right/segmentation"]),
    ],
)
def test_several_cameras_at_once(tmp_path, small_checkpoint, topics, labels):
    with BagWriter(tmp_path / "drive") as writer:
        plain, packed = writer.add_topic(topics[0], IMAGE), writer.add_topic(topics[1], COMPRESSED_IMAGE)
        for index in range(3):
            writer.write(plain, 10**9 + index * PERIOD_NS, image(index))
            writer.write(packed, 10**9 + index * PERIOD_NS + 7, compressed(index + 50, ".png"))
    out, report = tmp_path / "out.mcap", tmp_path / "report.json"
    run(tmp_path / "drive", out, small_checkpoint, "--topic", *topics, "--json", str(report))
    facts = json.loads(report.read_text())
    assert facts["frames"] == 6
    assert [figures["frames_answered"] for figures in facts["topics"].values()] == [3, 3]
    for first, prefix in zip((0, 50), labels, strict=True):
        stream = Segmenter.from_checkpoint(small_checkpoint).stream()
        answers = messages(out, f"{prefix}/label")
        assert len(answers) == 3
        for index, (_, _, raw) in enumerate(answers):
            wanted = stream.step(frame(first + index), stamp_of(raw), frame_id="front_optical").label_map
            np.testing.assert_array_equal(pixels(raw), wanted)
    with pytest.raises(ConfigError, match="is for one topic"):
        run(tmp_path / "drive", tmp_path / "no", small_checkpoint, "--topic", *topics, "--prefix", "/a")


def test_a_slower_computer_answers_the_newest(tmp_path, small_checkpoint):
    """Frames every 100 ms, 240 ms of work: 0 at once, then the newest each time the worker is free."""
    source, out, report = (
        make_bag(tmp_path / "drive", [image(i) for i in range(8)]),
        tmp_path / "o",
        tmp_path / "r.json",
    )
    run(source, out, small_checkpoint, "--realtime", "240", "--json", str(report))
    answers = messages(out, "/segmentation/label")
    assert [decode(raw, IMAGE).header.stamp.nanosec // PERIOD_NS for _, _, raw in answers] == [0, 2, 4, 7]
    begun = [0, 240, 480, 720]
    assert [bag_ns - 3 for _, bag_ns, _ in answers] == [7 * 10**9 + (ms + 240) * 10**6 for ms in begun]
    facts = json.loads(report.read_text())
    assert (facts["frames_sent"], facts["frames_answered"], facts["frames_dropped"]) == (8, 4, 4)
    assert facts["latency_ms"]["max"] == pytest.approx(320)
    assert facts["latency_ms"]["median"] == pytest.approx(270)
    stream = Segmenter.from_checkpoint(small_checkpoint).stream()
    for index, (_, _, raw) in zip([0, 2, 4, 7], answers, strict=True):
        wanted = stream.step(frame(index), 7 * 10**9 + index * PERIOD_NS, frame_id="front_optical").label_map
        np.testing.assert_array_equal(pixels(raw), wanted)


def test_the_speed_of_this_computer_is_simulated(tmp_path, small_checkpoint):
    report = tmp_path / "report.json"
    source = make_bag(tmp_path / "drive", [image(i) for i in range(3)])
    run(source, tmp_path / "out.mcap", small_checkpoint, "--json", str(report), "--realtime")
    facts = json.loads(report.read_text())
    assert facts["frames_answered"] + facts["frames_dropped"] == 3
    answers = messages(tmp_path / "out.mcap", "/segmentation/label")
    assert all(bag_ns > stamp_of(raw) for _, bag_ns, raw in answers)
    with pytest.raises(SystemExit, match="2"):
        run(source, tmp_path / "no.mcap", small_checkpoint, "--realtime", "-3")


def true_labels(size_hw: tuple[int, int] = (64, 96)) -> np.ndarray:
    truth = np.full(size_hw, 3, np.uint8)
    truth[:20], truth[-5:] = 0, 11  # 11 is beyond the classes: unlabelled
    return truth


@pytest.mark.parametrize("kind", ["topic", "in order", "by stamp"])
def test_labels_are_measured_against_the_truth(tmp_path, small_checkpoint, capsys, kind):
    source, folder = make_bag(tmp_path / "plain", [image(i) for i in range(9)]), tmp_path / "truth"
    folder.mkdir()
    labels = str(folder)
    if kind == "topic":
        labels = "/ground_truth"
        with BagReader(tmp_path / "plain") as reader, BagWriter(tmp_path / "drive") as writer:
            writer.copy_topics(reader)
            topic = writer.add_topic(labels, IMAGE)
            for index, (_, bag_ns, _) in enumerate(writer.copy_messages(reader, CAMERA)):
                writer.write(topic, bag_ns, image_message(header(index), true_labels()))
        source = tmp_path / "drive"
    for index in range(9):
        name = f"frame{index}" if kind == "in order" else f"{7 * 10**9 + index * PERIOD_NS}"
        cv2.imwrite(str(folder / f"{name}.png"), true_labels())
    report = tmp_path / "report.json"
    run(source, tmp_path / "out.mcap", small_checkpoint, "--labels", labels, "--json", str(report), "--topic", CAMERA)
    facts = json.loads(report.read_text())

    answers = [pixels(raw) for _, _, raw in messages(tmp_path / "out.mcap", "/segmentation/label")]
    confusion = ConfusionMatrix(11, 255)
    for answer in answers:
        confusion.update(answer, np.where(true_labels() < 11, true_labels(), 255))
    assert facts["mIoU"] == pytest.approx(confusion.mIoU(), abs=0.01)
    assert (facts["mVC8_windows"], facts["mVC16_windows"], facts["frames_with_truth"]) == (2, 0, 9)
    labelled = true_labels() < 11
    kept = [np.all([a == answers[i + 7] for a in answers[i : i + 8]], axis=0)[labelled].mean() for i in (0, 1)]
    assert facts["mVC8"] == pytest.approx(100 * np.mean(kept), abs=0.01)
    assert facts["mVC16"] is None
    changes = [np.mean(a != b) for a, b in pairwise(answers)]
    assert facts["changed_pixels"] == pytest.approx(100 * np.mean(changes), abs=0.001)
    assert "over 2 windows answered without a gap" in capsys.readouterr().out


def test_a_frame_that_is_no_picture_is_a_gap(tmp_path, small_checkpoint):
    """Of 9 frames before it there are two windows, of the 7 behind it none."""
    images, report = [image(i) for i in range(17)], tmp_path / "report.json"
    images[9].encoding = "martian"
    source = make_bag(tmp_path / "drive", images)
    for index in range(17):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), true_labels())
    labels = ("--labels", str(tmp_path), "--json", str(report))
    run(source, tmp_path / "out.mcap", small_checkpoint, *labels)
    facts = json.loads(report.read_text())
    assert (facts["frames_answered"], facts["mVC8_windows"], facts["mVC16_windows"]) == (16, 2, 0)


def test_frames_recorded_at_one_time_are_all_counted(tmp_path, small_checkpoint):
    with BagWriter(tmp_path / "drive") as writer:
        camera = writer.add_topic(CAMERA, IMAGE)
        for index in range(4):
            writer.write(camera, 7 * 10**9 + index // 2 * PERIOD_NS, image(index))
    run(tmp_path / "drive", tmp_path / "out.mcap", small_checkpoint, "--json", str(tmp_path / "report.json"))
    facts = json.loads((tmp_path / "report.json").read_text())
    assert (facts["frames_sent"], facts["frames_answered"], facts["frames_dropped"]) == (4, 4, 0)


def test_only_windows_without_a_gap_count(tmp_path, small_checkpoint):
    """Of 20 frames 250 ms of work leave no two neighbours answered."""
    source, report = make_bag(tmp_path / "drive", [image(i) for i in range(20)]), tmp_path / "report.json"
    for index in range(20):
        cv2.imwrite(str(tmp_path / f"{index}.png"), true_labels())
    labels = ("--labels", str(tmp_path), "--json", str(report))
    run(source, tmp_path / "out.mcap", small_checkpoint, "--realtime", "250", *labels)
    facts = json.loads(report.read_text())
    assert (facts["mVC8_windows"], facts["mVC8"], facts["changed_pixels"]) == (0, None, None)
    assert facts["mIoU"] is not None, "the last answer is held"
    assert facts["frames_with_truth"] == 20


def test_labels_that_do_not_fit_are_said(tmp_path, small_checkpoint):
    source = make_bag(tmp_path / "drive", [image(i) for i in range(3)])
    with pytest.raises(InputError, match="neither a topic of the bag nor a folder"):
        run(source, tmp_path / "out.mcap", small_checkpoint, "--labels", "/nothing")
    with pytest.raises(InputError, match="--labels /talk carries std_msgs/msg/String, not label images"):
        run(source, tmp_path / "out.mcap", small_checkpoint, "--labels", "/talk")
    cv2.imwrite(str(tmp_path / "a.png"), true_labels())
    with pytest.raises(InputError, match=r"holds 1 PNG files, none named by the stamp of a frame, and .* has 3 frames"):
        run(source, tmp_path / "out.mcap", small_checkpoint, "--labels", str(tmp_path))
    assert not (tmp_path / "out.mcap").exists()


def test_truth_of_no_frame_is_said(tmp_path, small_checkpoint, capsys):
    source = make_bag(tmp_path / "drive", [image(0)])
    run(source, tmp_path / "out.mcap", small_checkpoint, "--labels", CAMERA)
    assert f"warning: --labels {CAMERA}: not one frame has labels there" in capsys.readouterr().err


def test_a_report_beside_the_bag(tmp_path, small_checkpoint):
    pytest.importorskip("av")
    pytest.importorskip("jinja2")
    source, out = make_bag(tmp_path / "drive", [image(i) for i in range(3)]), tmp_path / "out"
    with pytest.raises(OutputError, match="is the place of the bag"):
        run(source, out, small_checkpoint, "--report", str(out))
    run(source, out, small_checkpoint, "--report", str(tmp_path / "report"))
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["frames_sent"], report["mIoU"], report["mode"]) == (3, None, "every frame, offline")
    assert report["changed_pixels"] > 0
    with pytest.raises(OutputError, match="exists; choose another folder or pass --overwrite"):
        run(source, tmp_path / "again", small_checkpoint, "--report", str(tmp_path / "report"))
    assert not (tmp_path / "again").exists()


def test_a_full_disk_leaves_nothing(tmp_path, small_checkpoint, full_disk):
    source = make_bag(tmp_path / "drive", [image(i) for i in range(4)])
    with full_disk(20_000), pytest.raises(OutputError, match="cannot write"):
        run(source, tmp_path / "out.mcap", small_checkpoint)
    assert [p.name for p in tmp_path.iterdir()] == ["drive"]


def test_unknown_types_are_copied_untouched(tmp_path, small_checkpoint):
    path = make_bag(tmp_path / "plain", [image(i) for i in range(2)])
    with (
        BagReader(path) as reader,
        Writer(tmp_path / "drive", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer,
    ):
        own = writer.add_connection("/own", "robot/msg/Own", msgdef="", rihs01="RIHS01_" + "1" * 64)
        camera = writer.add_connection(CAMERA, IMAGE, typestore=standard_types())
        for _, bag_ns, raw in reader.messages(CAMERA):
            writer.write(camera, bag_ns, raw)
            writer.write(own, bag_ns + 1, b"\0\1\0\0whatever")
    run(tmp_path / "drive", tmp_path / "out.mcap", small_checkpoint)
    assert messages(tmp_path / "out.mcap", CAMERA, "/own") == messages(tmp_path / "drive")
