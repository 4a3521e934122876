"""ResNet against the Hugging Face implementation, on random weights written under torchvision's names."""

import re

import pytest
import torch

from sdcpc_core.models.resnet import RESNET_DEPTHS, ResNet
from sdcpc_core.pretrained.encoder import load_backbone_weights

transformers = pytest.importorskip("transformers")

TORCHVISION_OF_PEER = [
    (r"^embedder\.embedder\.convolution", "conv1"),
    (r"^embedder\.embedder\.normalization", "bn1"),
    (r"^encoder\.stages\.(\d)\.layers\.(\d+)", lambda found: f"layer{int(found[1]) + 1}.{found[2]}"),
    (r"shortcut\.convolution", "downsample.0"),
    (r"shortcut\.normalization", "downsample.1"),
    (r"layer\.(\d)\.convolution", lambda found: f"conv{int(found[1]) + 1}"),
    (r"layer\.(\d)\.normalization", lambda found: f"bn{int(found[1]) + 1}"),
]


def torchvision_name(name: str) -> str:
    for pattern, replacement in TORCHVISION_OF_PEER:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.mark.parametrize("depth", sorted(RESNET_DEPTHS))
def test_four_maps_equal_the_peer_s(depth, tmp_path):
    is_basic = depth == "18"
    config = transformers.ResNetConfig(
        depths=list(RESNET_DEPTHS[depth]),
        hidden_sizes=[64, 128, 256, 512] if is_basic else [256, 512, 1024, 2048],
        layer_type="basic" if is_basic else "bottleneck",
    )
    torch.manual_seed(0)
    peer = transformers.ResNetModel(config).eval()
    for module in peer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # As trained ones are, unlike one another; the last of a branch would otherwise make the sums explode.
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.2, 0.6)
            module.bias.data.normal_(0, 0.1)
    tensors = {torchvision_name(name): tensor for name, tensor in peer.state_dict().items()}
    classifier = {"fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000)}
    torch.save(tensors | classifier, tmp_path / f"resnet{depth}.pth")
    ours = ResNet(depth).eval()
    loaded = load_backbone_weights(ours, tmp_path / f"resnet{depth}.pth")
    assert (loaded.source, loaded.licence_note) == ("torchvision ResNet", None)
    assert loaded.left_out == ("fc.bias", "fc.weight")

    images = torch.randn(1, 3, 97, 130)
    with torch.inference_mode():
        expected = peer(images, output_hidden_states=True).hidden_states[-4:]
        for our_map, peer_map in zip(ours(images), expected, strict=True):
            torch.testing.assert_close(our_map, peer_map, atol=1e-5, rtol=1e-5)
            assert peer_map.std() > 0.1
