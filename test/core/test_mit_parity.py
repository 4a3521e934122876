"""MiT against the Hugging Face implementation, on copied random weights."""

import re

import pytest
import torch

from sdcpc_core.models.mit import MIT_SIZES, NUM_HEADS, SR_RATIOS, MixTransformer

OURS_OF_PEER = [
    (r"stages\.(\d)\.patch_embeddings\.proj", r"patch_embed\1.proj"),
    (r"stages\.(\d)\.patch_embeddings\.layer_norm", r"patch_embed\1.norm"),
    (r"stages\.(\d)\.blocks", r"block\1"),
    (r"stages\.(\d)\.layer_norm", r"norm\1"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.sequence_reduction\.sequence_reduction", "attn.sr"),
    (r"attention\.sequence_reduction\.layer_norm", "attn.norm"),
    (r"attention\.([qkv])_proj", r"attn.\1"),
    (r"attention\.o_proj", "attn.proj"),
    (r"dwconv\.dwconv", "dwconv"),
]


def our_name(name: str) -> str:
    name = re.sub(r"^stages\.(\d)", lambda match: f"stages.{int(match[1]) + 1}", name)
    for pattern, replacement in OURS_OF_PEER:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.mark.parametrize("size", ["b0", "b1"])
def test_four_maps_equal_the_peer_s(size):
    transformers = pytest.importorskip("transformers")
    shape = MIT_SIZES[size]
    config = transformers.SegformerConfig(
        depths=list(shape.depths),
        hidden_sizes=list(shape.embed_dims),
        num_attention_heads=list(NUM_HEADS),
        sr_ratios=list(SR_RATIOS),
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    peer = transformers.SegformerModel(config).eval().double()
    tensors = {our_name(name): tensor for name, tensor in peer.state_dict().items()}
    for prefix in [name.removesuffix("k.weight") for name in tensors if name.endswith("attn.k.weight")]:
        for kind in ("weight", "bias"):
            halves = [tensors.pop(f"{prefix}{half}.{kind}") for half in "kv"]
            tensors[f"{prefix}kv.{kind}"] = torch.cat(halves)
    ours = MixTransformer(size).eval().double()
    ours.load_state_dict(tensors)

    # The peer's norms have another epsilon than NVlabs' here and there, which the random weights blow up.
    for module in (*ours.modules(), *peer.modules()):
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    with torch.inference_mode():
        expected = peer(images, output_hidden_states=True).hidden_states
        for our_map, peer_map in zip(ours(images), expected[-4:], strict=True):
            torch.testing.assert_close(our_map, peer_map, atol=1e-9, rtol=1e-9)
            assert peer_map.std() > 0.1
