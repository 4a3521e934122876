"""SegFormer against the Hugging Face implementation, on random weights that go the way users' weights go."""

import pytest
import torch

from sdcpc_core.models import build_model
from sdcpc_core.models.mit import MIT_SIZES
from sdcpc_core.pretrained import load_segformer_weights

transformers = pytest.importorskip("transformers")


def random_peer(size: str) -> "transformers.SegformerForSemanticSegmentation":
    shape = MIT_SIZES[size]
    config = transformers.SegformerConfig(
        depths=list(shape.depths),
        hidden_sizes=list(shape.embed_dims),
        decoder_hidden_size=256,
        num_labels=19,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    peer = transformers.SegformerForSemanticSegmentation(config).eval()
    for name, parameter in peer.named_parameters():
        if parameter.ndim == 1:
            # Zeros and ones would hide which bias or norm went where.
            parameter.data.normal_(1.0 if name.endswith("weight") else 0.0, 0.2)
    norm = peer.decode_head.batch_norm
    norm.running_mean.normal_(0, 1)
    norm.running_var.uniform_(0.5, 2)
    norm.num_batches_tracked.fill_(1234)
    return peer


@pytest.mark.parametrize("size", ["b0", "b1"])
def test_logits_equal_the_peer_s(size, tmp_path):
    peer = random_peer(size)
    peer.save_pretrained(tmp_path)
    ours = build_model(f"segformer_mit_{size}", 19).eval()
    loaded = load_segformer_weights(ours, tmp_path)
    assert loaded.left_out == ()
    assert "non-commercial" in loaded.licence_note
    assert ours.decode_head.linear_fuse.bn.num_batches_tracked == 1234
    for module in peer.modules():
        # transformers gives all norms 1e-5; the networks it took its weights from have 1e-6 in and after blocks.
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    for module in ours.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6

    for size_hw in ((64, 128), (97, 130)):
        images = torch.randint(0, 256, (1, 3, *size_hw), dtype=torch.uint8)
        with torch.inference_mode():
            expected = peer(ours.normalization(images)).logits
            logits = ours(images[:, None])
        assert expected.std() > 0.1
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
