"""MiT against the Hugging Face implementation, on random weights that go the way users' weights go."""

import pytest
import torch

from sdcpc_core.models.mit import MIT_SIZES, NUM_HEADS, SR_RATIOS, MixTransformer
from sdcpc_core.pretrained import load_backbone_weights

transformers = pytest.importorskip("transformers")


def random_peer(size: str) -> "transformers.SegformerModel":
    shape = MIT_SIZES[size]
    config = transformers.SegformerConfig(
        depths=list(shape.depths),
        hidden_sizes=list(shape.embed_dims),
        num_attention_heads=list(NUM_HEADS),
        sr_ratios=list(SR_RATIOS),
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    peer = transformers.SegformerModel(config).eval()
    for name, parameter in peer.named_parameters():
        if name.endswith("bias") or parameter.ndim == 1:
            # Zeros and ones would hide which bias or norm went where.
            parameter.data.normal_(1.0 if name.endswith("weight") else 0.0, 0.3)
    return peer


@pytest.mark.parametrize("size", ["b0", "b1"])
def test_four_maps_equal_the_peer_s(size, tmp_path):
    peer = random_peer(size)
    peer.save_pretrained(tmp_path)
    ours = MixTransformer(size).eval()
    loaded = load_backbone_weights(ours, tmp_path)
    assert loaded.source == "Hugging Face SegFormer"
    assert loaded.left_out == ()
    # The peer's norms have another epsilon than NVlabs' here and there, which the random weights blow up.
    for module in (*ours.double().modules(), *peer.double().modules()):
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    with torch.inference_mode():
        expected = peer(images, output_hidden_states=True).hidden_states
        for our_map, peer_map in zip(ours(images), expected[-4:], strict=True):
            torch.testing.assert_close(our_map, peer_map, atol=1e-9, rtol=1e-9)
            assert peer_map.std() > 0.1


def test_what_transformers_has_in_memory_loads_as_what_it_writes(tmp_path):
    peer = random_peer("b0")
    peer.save_pretrained(tmp_path)
    torch.save(peer.state_dict(), tmp_path / "state_dict.pth")
    written, in_memory = MixTransformer("b0"), MixTransformer("b0")
    load_backbone_weights(written, tmp_path)
    load_backbone_weights(in_memory, tmp_path / "state_dict.pth")
    for name, tensor in written.state_dict().items():
        assert torch.equal(tensor, in_memory.state_dict()[name]), name
