"""Encoders by name."""

from torch import nn

from sdcpc_core.errors import ConfigError
from sdcpc_core.models.mit import MIT_SIZES, MixTransformer
from sdcpc_core.models.resnet import RESNET_DEPTHS, ResNet

BACKBONES = (*(f"mit_{size}" for size in MIT_SIZES), *(f"resnet{depth}" for depth in RESNET_DEPTHS))


def build_backbone(name: str) -> nn.Module:
    """Build an encoder; its ``channels`` are the widths of its four maps at strides 4, 8, 16 and 32.

    Raises:
        ConfigError: no backbone of this name.
    """
    if name not in BACKBONES:
        raise ConfigError(f"no backbone {name!r}; there are {', '.join(BACKBONES)}")
    if name.startswith("mit_"):
        return MixTransformer(name.removeprefix("mit_"))
    return ResNet(name.removeprefix("resnet"))
