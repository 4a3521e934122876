"""Weights as others name and save them, random."""

import torch

from sdcpc_core.models.mit import MIT_SIZES


def nvlabs(tensors: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """Our names as NVlabs' files have them."""
    return {prefix + name.replace("mlp.dwconv.", "mlp.dwconv.dwconv."): tensor for name, tensor in tensors.items()}


def random_peer(kind: type, size: str, *, std: float, **settings: int) -> torch.nn.Module:
    """A network of transformers, ``kind``, with 19 classes and random values everywhere."""
    from transformers import SegformerConfig

    shape = MIT_SIZES[size]
    config = SegformerConfig(
        depths=list(shape.depths),
        hidden_sizes=list(shape.embed_dims),
        num_labels=19,
        initializer_range=std,
        **settings,
    )
    torch.manual_seed(0)
    peer = kind(config).eval()
    for name, parameter in peer.named_parameters():
        if parameter.ndim == 1:
            # Zeros and ones would hide which bias or norm went where.
            parameter.data.normal_(1.0 if name.endswith("weight") else 0.0, 0.2)
    return peer
