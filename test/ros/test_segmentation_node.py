"""The node in its own process, spoken to over DDS."""

from pathlib import Path

import numpy as np
import pytest
import yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"
OUTPUTS = ("segmentation/label", "segmentation/color", "segmentation/overlay", "segmentation/confidence")


def pixels_of(message, channels: int = 1) -> np.ndarray:
    assert message.step == message.width * channels
    pixels = np.frombuffer(message.data, np.uint8)
    shape = (message.height, message.width, channels)
    return pixels.reshape(shape if channels > 1 else shape[:2])


@pytest.fixture(scope="module")
def node(start_node, small_checkpoint):
    # Reliable, so that the tests may count on every frame sent; the default is tested below.
    reliable = "qos_overrides./image.subscription.reliability:=reliable"
    with start_node(f"checkpoint:={small_checkpoint}", "device:=cpu", "cpu_threads:=1", reliable) as node:
        node.wait_for_log("11 classes of 'camvid'")
        yield node


def test_results_carry_the_header_and_the_labels_of_the_model(node, peer, labels_of, small_checkpoint, scene):
    from sdcpc_core.labels import CAMVID
    from sdcpc_core.visualization import overlay

    frame = scene()
    peer.listen(*OUTPUTS)
    peer.greet(frame)
    # A gap this long starts the stream anew, so the frame stands alone here as there.
    image = peer.send(frame, after_s=100.0)
    label, color, blended, confidence = (peer.answer_to(image, topic) for topic in OUTPUTS)
    assert label.header == color.header == blended.header == confidence.header == image.header
    assert [m.encoding for m in (label, color, blended, confidence)] == ["mono8", "rgb8", "rgb8", "mono8"]
    label_map = pixels_of(label)
    assert np.array_equal(label_map, labels_of(small_checkpoint, frame))
    assert np.array_equal(pixels_of(color, 3), CAMVID.colorize(label_map))
    assert np.array_equal(pixels_of(blended, 3), overlay(frame, label_map, CAMVID, 0.5))
    assert pixels_of(confidence).min() >= 255 // CAMVID.num_classes - 1


def test_quality_of_service_can_be_overridden(node, peer):
    assert peer.spin_until(lambda: peer.reliability_of_subscriptions() == ["RELIABLE"])


def test_padded_bgr_rows_give_the_labels_of_the_plain_image(node, peer, scene):
    frame = scene(seed=1)
    peer.listen("segmentation/label")
    peer.greet(frame)
    plain = peer.answer_to(peer.send(frame, after_s=100.0))
    padded = peer.answer_to(peer.send(frame[..., ::-1], "bgr8", padding=32, after_s=100.0))
    assert np.array_equal(pixels_of(plain), pixels_of(padded))


def test_bad_frame_is_skipped_and_the_next_one_answered(node, peer, scene):
    frame = scene(seed=2)
    peer.listen("segmentation/label")
    peer.greet(frame)
    peer.send(frame[..., :2], "16UC1")
    node.wait_for_log("frame skipped: encoding '16UC1' is depth")
    good = peer.send(frame)
    peer.answer_to(good)
    assert len(peer.answers["segmentation/label"]) == 1


def test_flood_ends_with_the_newest_frame(node, peer, scene):
    frame = scene((480, 640), seed=3)
    peer.listen("segmentation/label")
    peer.greet(frame)
    # As fast as they can be made, which no network answers.
    sent = [peer.send(frame, after_s=0.02) for _ in range(60)]
    peer.answer_to(sent[-1])
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in peer.answers["segmentation/label"]]
    assert len(stamps) < len(sent), "frames must be dropped, not queued"
    assert stamps == sorted(set(stamps)), "answers must come once each and in order"


def test_full_hd_frames_arrive_whole(node, peer, scene):
    peer.listen("segmentation/label")
    peer.greet(scene())
    for seed in range(3):
        image = peer.send(scene((1080, 1920), seed))
        answer = peer.answer_to(image)
        assert (answer.height, answer.width, len(answer.data)) == (1080, 1920, 1080 * 1920)


def test_overlay_alpha_changes_while_the_node_runs(node, peer, scene):
    frame = scene(seed=4)
    peer.listen("segmentation/overlay")
    peer.greet(frame)
    assert peer.set_parameter("overlay_alpha", 0.0).successful
    try:
        shown = peer.answer_to(peer.send(frame), "segmentation/overlay")
        assert np.array_equal(pixels_of(shown, 3), frame)
    finally:
        assert peer.set_parameter("overlay_alpha", 0.5).successful
    refused = peer.set_parameter("overlay_alpha", 2.0)
    assert not refused.successful
    assert "0 to 1" in refused.reason
    refused = peer.set_parameter("device", "cuda")
    assert not refused.successful
    assert "device is read when the node configures" in refused.reason


def test_rviz_shows_topics_the_node_has(node, peer):
    displays = yaml.safe_load((CONFIG / "segmentation.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = {f"/{display['Topic']['Value']}": display["Class"] for display in displays}
    graph = peer.node

    def on_graph(topic: str) -> bool:
        infos = graph.get_publishers_info_by_topic(topic) + graph.get_subscriptions_info_by_topic(topic)
        return any(i.node_name == "segmentation" and i.topic_type == "sensor_msgs/msg/Image" for i in infos)

    assert set(shown.values()) == {"rviz_default_plugins/Image"}
    assert peer.spin_until(lambda: all(map(on_graph, shown))), shown
