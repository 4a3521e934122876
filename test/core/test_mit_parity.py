"""MiT against the Hugging Face implementation, on random weights that go the way users' weights go."""

import re

import pytest
import torch
from foreign_weights import random_peer

from sdcpc_core.models.mit import MixTransformer
from sdcpc_core.pretrained.encoder import load_backbone_weights

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("size", ["b0", "b1"])
def test_four_maps_equal_the_peer_s(size, tmp_path):
    peer = random_peer(transformers.SegformerModel, size, std=0.3)
    peer.save_pretrained(tmp_path)
    ours = MixTransformer(size).eval()
    loaded = load_backbone_weights(ours, tmp_path)
    assert loaded.source == "Hugging Face SegFormer"
    assert loaded.left_out == ()
    for name, module in peer.named_modules():
        # transformers gives all norms 1e-5; the networks it took its weights from have 1e-6 in and after blocks.
        if re.search(r"layer_norm_[12]$|layernorm_(before|after)$|(stages\.\d|encoder)\.layer_norm(\.\d)?$", name):
            module.eps = 1e-6
    ours.double(), peer.double()
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    with torch.inference_mode():
        expected = peer(images, output_hidden_states=True).hidden_states
        for our_map, peer_map in zip(ours(images), expected[-4:], strict=True):
            torch.testing.assert_close(our_map, peer_map, atol=1e-9, rtol=1e-9)
            assert peer_map.std() > 0.1


def test_what_transformers_has_in_memory_loads_as_what_it_writes(tmp_path):
    peer = random_peer(transformers.SegformerModel, "b0", std=0.3)
    peer.save_pretrained(tmp_path)
    torch.save(peer.state_dict(), tmp_path / "state_dict.pth")
    written, in_memory = MixTransformer("b0"), MixTransformer("b0")
    load_backbone_weights(written, tmp_path)
    load_backbone_weights(in_memory, tmp_path / "state_dict.pth")
    for name, tensor in written.state_dict().items():
        assert torch.equal(tensor, in_memory.state_dict()[name]), name


def test_norms_have_the_epsilons_of_nvlabs():
    norms = {name: m.eps for name, m in MixTransformer("b0").named_modules() if isinstance(m, torch.nn.LayerNorm)}
    is_wide = {name: bool(re.search(r"^patch_embed\d\.norm$|\.attn\.norm$", name)) for name in norms}
    assert norms == {name: 1e-5 if wide else 1e-6 for name, wide in is_wide.items()}
    assert sorted(is_wide.values()) == [False] * 20 + [True] * 10
