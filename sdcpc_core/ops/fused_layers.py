"""Linear layers and GELU at inference on a CPU: oneDNN adds the bias and bends the sum in the pass that computes it.

PyTorch writes the bias first, then the product, then its GELU, each a map that is too large for the cache.
"""

import platform
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(tokens: Tensor, layer: nn.Linear) -> Tensor:
    """What ``nn.Linear`` does, (..., C) -> (..., C')."""
    return _linear(tokens, layer, "none") if _takes(tokens) else F.linear(tokens, layer.weight, layer.bias)


def linear_gelu(tokens: Tensor, layer: nn.Linear) -> Tensor:
    """``F.gelu`` of a linear layer, (..., C) -> (..., C')."""
    return _linear(tokens, layer, "gelu") if _takes(tokens) else F.gelu(layer(tokens))


def conv_gelu(features: Tensor, layer: nn.Conv2d) -> Tensor:
    """``F.gelu`` of a convolution with zeros around its input, (B, C, H, W) -> (B, C', H', W')."""
    if not _takes(features):
        return F.gelu(layer(features))
    geometry = layer.padding, layer.stride, layer.dilation, layer.groups
    return torch.ops.mkldnn._convolution_pointwise(*_cast(features, layer), *geometry, "gelu", [], "none")


def _linear(tokens: Tensor, layer: nn.Linear, after: str) -> Tensor:
    tokens, weight, bias = _cast(tokens, layer)
    return torch.ops.mkldnn._linear_pointwise(tokens.contiguous(), weight, bias, after, [], "none")


def _cast(inputs: Tensor, layer: nn.Linear | nn.Conv2d) -> tuple[Tensor, Tensor, Tensor | None]:
    # As autocast would.
    dtype = _precision(inputs)
    return inputs.to(dtype), layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)


def _takes(tensor: Tensor) -> bool:
    # Compilers and exports know the usual layers, and so does who counts operations on tensors of another type.
    if torch.compiler.is_compiling() or type(tensor) is not Tensor:
        return False
    return tensor.device.type == "cpu" and not torch.is_grad_enabled() and _precision(tensor) in _dtypes()


def _precision(tensor: Tensor) -> torch.dtype:
    under_autocast = tensor.dtype != torch.float64 and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if under_autocast else tensor.dtype


@cache
def _dtypes() -> tuple[torch.dtype, ...]:
    # Of other processors nothing was measured.
    if not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return ()
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if has_bfloat16 else (torch.float32,)
