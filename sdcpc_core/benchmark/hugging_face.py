"""The peer: SegFormer as the library transformers has it."""

from typing import TYPE_CHECKING

import torch

from sdcpc_core.benchmark.setting import Setting
from sdcpc_core.errors import ConfigError, MissingDependencyError
from sdcpc_core.models.mit import MIT_SIZES
from sdcpc_core.placed_model import PRECISIONS, cast_once

if TYPE_CHECKING:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation


def segformer_classes() -> "tuple[type[SegformerConfig], type[SegformerForSemanticSegmentation]]":
    """Import the peer and its configuration, which takes seconds the first time.

    Raises:
        MissingDependencyError: transformers is not installed.
    """
    try:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except ImportError as err:
        raise MissingDependencyError(f"the SegFormer to compare with needs transformers ({err})") from err
    return SegformerConfig, SegformerForSemanticSegmentation


def hugging_face_segformer(
    setting: Setting, *, tuned: bool
) -> "tuple[SegformerForSemanticSegmentation, torch.memory_format]":
    """Build it with random weights.

    Args:
        setting: backbone, K, device and precision.
        tuned: with PyTorch's fused attention, channels last, and weights cast once; otherwise as it comes.

    Returns:
        The network on the device, and the layout to give it images in.

    Raises:
        ConfigError: it has no such backbone.
        MissingDependencyError: transformers is not installed.
    """
    if setting.mit_size is None:
        raise ConfigError(f"there is no SegFormer on the backbone of {setting.model!r}; use a sdcpc_mit_* model")
    configuration, network = segformer_classes()
    size = MIT_SIZES[setting.mit_size]
    config = configuration(
        depths=list(size.depths),
        hidden_sizes=list(size.embed_dims),
        decoder_hidden_size=256 if setting.mit_size in ("b0", "b1") else 768,
        num_labels=setting.num_classes,
        attn_implementation="sdpa" if tuned else "eager",
    )
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = network(config).eval().to(setting.device, memory_format=layout)
    return cast_once(model, PRECISIONS[setting.precision]) if tuned else model, layout
