"""SegFormer against the Hugging Face implementation, on random weights that go the way users' weights go."""

import pytest
import torch
from foreign_weights import random_peer

from sdcpc_core.pretrained.encoder import build_segformer, read_pretrained

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("size", ["b0", "b1"])
def test_logits_equal_the_peer_s(size, tmp_path):
    peer = random_peer(transformers.SegformerForSemanticSegmentation, size, std=0.1, decoder_hidden_size=256)
    norm = peer.decode_head.batch_norm
    norm.running_mean.normal_(0, 1)
    norm.running_var.uniform_(0.5, 2)
    norm.num_batches_tracked.fill_(1234)
    peer.save_pretrained(tmp_path)
    name, ours, loaded = build_segformer(read_pretrained(tmp_path))
    ours.eval()
    assert name == f"segformer_mit_{size}"
    assert loaded.left_out == ()
    assert "non-commercial" in loaded.licence_note
    assert ours.decode_head.linear_fuse.bn.num_batches_tracked == 1234

    for size_hw in ((64, 128), (97, 130)):
        images = torch.randint(0, 256, (1, 3, *size_hw), dtype=torch.uint8)
        with torch.inference_mode():
            expected = peer(ours.normalization(images)).logits
            logits = ours(images[:, None])
        assert expected.std() > 0.1
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
