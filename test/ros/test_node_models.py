"""Models other than SD-CPC in the node."""


def test_a_per_frame_model_runs_as_well(start_node, random_checkpoint, peer, labels_of, scene):
    segformer = random_checkpoint("segformer_mit_b0")
    frames = [scene(seed=seed) for seed in range(3)]
    peer.listen("segmentation/label")
    with start_node(f"checkpoint:={segformer}", "device:=cpu", "cpu_threads:=2") as node:
        node.wait_for_log(", 2 threads)")  # of the network, not of the thread that says so
        peer.greet(frames[0])
        for frame in frames:
            answer = peer.answer_to(peer.send(frame))
            # No past: in the midst of a stream as at its start.
            assert bytes(answer.data) == labels_of(segformer, frame).tobytes()
