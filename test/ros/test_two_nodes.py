"""Two nodes with different networks in one graph, each with a camera of its own or both with the same."""

from contextlib import ExitStack

import pytest

NAMESPACES = ("left", "right")


@pytest.fixture(scope="module")
def checkpoints(small_checkpoint, random_checkpoint):
    return small_checkpoint, random_checkpoint("segformer_mit_b0")


@pytest.fixture(scope="module", params=[("/left/image", "/right/image"), ("/camera/image",) * 2], ids=["own", "shared"])
def cameras(request, start_node, checkpoints):
    """Camera topics of the two nodes, which run."""

    def start(index: int):
        return start_node(
            f"checkpoint:={checkpoints[index]}",
            *("device:=cpu", "cpu_threads:=1"),
            # Reliable, so that the tests may count on every frame sent.
            f"qos_overrides.{request.param[index]}.subscription.reliability:=reliable",
            namespace=f"/{NAMESPACES[index]}",
            remapped=(f"image:={request.param[index]}",),
        )

    with start(0) as left, start(1) as right:
        for node in (left, right):
            node.wait_for_log("11 classes of 'camvid'")
        yield request.param


def test_each_answers_its_own_camera_and_is_known_by_its_name(cameras, checkpoints, peer, scene, labels_of):
    from diagnostic_msgs.msg import DiagnosticArray
    from std_srvs.srv import SetBool

    topics = [f"{namespace}/segmentation/label" for namespace in NAMESPACES]
    peer.listen(*topics)
    peer.greet(scene(), topics=tuple(dict.fromkeys(cameras)))
    # A gap this long starts the streams anew, so the frames stand alone here as there.
    header = peer.header(after_s=100.0)
    frames = {camera: scene(seed=seed) for seed, camera in enumerate(cameras)}
    images = {camera: peer.send(frame, topic=camera, header=header) for camera, frame in frames.items()}
    for camera, topic, checkpoint in zip(cameras, topics, checkpoints, strict=True):
        answer = peer.answer_to(images[camera], topic)
        assert bytes(answer.data) == labels_of(checkpoint, frames[camera]).tobytes()

    peer.listen("/diagnostics", message_class=DiagnosticArray)

    def told() -> dict[str, str]:
        statuses = [status for array in peer.answers["/diagnostics"] for status in array.status]
        values = {status.name: {pair.key: pair.value for pair in status.values} for status in statuses}
        return {name: of.get("checkpoint", of.get("frames answered")) for name, of in values.items()}

    names = [f"/{namespace}/segmentation" for namespace in NAMESPACES]
    assert peer.spin_until(lambda: len(told()) == 4), told()
    assert [told()[name] for name in names] == list(map(str, checkpoints))
    assert all(int(told()[f"{name}: camera"]) > 0 for name in names)

    assert peer.call(SetBool, "left/segmentation/enable", SetBool.Request(data=False)).success
    image = [peer.send(scene(), topic=camera) for camera in dict.fromkeys(cameras)][-1]
    peer.answer_to(image, topics[1])
    assert image.header not in [answer.header for answer in peer.answers[topics[0]]]


def test_nodes_of_one_namespace_differ_in_name(start_node, peer):
    from diagnostic_msgs.msg import DiagnosticArray

    names = ("one", "other")
    peer.listen("/diagnostics", message_class=DiagnosticArray)
    with ExitStack() as nodes:
        for name in names:
            nodes.enter_context(start_node("autostart:=false", remapped=(f"__node:={name}",)))
        for name in names:
            assert peer.set_parameter("overlay_alpha", 0.25, node=name).successful

        def told() -> set[str]:
            return {status.name for array in peer.answers["/diagnostics"] for status in array.status}

        assert peer.spin_until(lambda: {f"/{name}" for name in names} <= told()), told()
