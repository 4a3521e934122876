"""Multivariate class prototypes with contrastive learning (MCP-CL): what training asks of the variates.

Pure functions. Where several processes train together, each calls them with its own share of the batch: prototypes
are those of the whole batch, and the mean of the processes' losses, and of their gradients, is that of one process.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.errors import ConfigError
from sdcpc_core.ops.features import at_least_float32
from sdcpc_core.training.processes import num_processes, sum_over_processes

MIN_LENGTH = 1e-3
"""Cosines are of vectors at least this long: to stretch ever shorter ones to 1 would blow their gradients up."""


class ClassPrototypes(NamedTuple):
    """Centroids of the classes in each variate.

    Attributes:
        means: (K, M, D); zeros for a class without a correct pixel.
        counts: correct pixels of each class, (K,), of the type of the means.
    """

    means: Tensor
    counts: Tensor


class PrototypeLosses(NamedTuple):
    """The terms that MCP-CL adds to the cross-entropy, both scalars.

    Attributes:
        contrast: L_CR.
        redundancy: L_MF.
    """

    contrast: Tensor
    redundancy: Tensor


def prototype_losses(
    variates: Tensor, logits: Tensor, labels: Tensor, *, num_variates: int, ignore_index: int, temperature: float
) -> PrototypeLosses:
    """L_CR and L_MF of a batch; both are differentiable zeros where no pixel is right.

    Args:
        variates: multivariate features, (B, h, w, C), any float type; variate m holds channels m C/M … (m+1) C/M.
        logits: the joint decision on them, (B, K, h, w).
        labels: class ids, (B, H, W) of any integer type.
        num_variates: M, a divisor of C.
        ignore_index: id of unlabelled pixels.
        temperature: tau, > 0.

    Raises:
        ConfigError: ``num_variates`` does not divide C, or the temperature is not positive.

    Source: SD-CPC (arXiv 2412.08034), Eq. 4-6. Differences: at the stride of the logits; see each term.
    """
    features, classes = correct_pixels(variates, logits, labels, num_variates=num_variates, ignore_index=ignore_index)
    prototypes = class_prototypes(features, classes, num_classes=logits.shape[1])
    return PrototypeLosses(
        prototype_contrast(features, classes, prototypes, temperature=temperature), variate_redundancy(prototypes)
    )


def correct_pixels(
    variates: Tensor, logits: Tensor, labels: Tensor, *, num_variates: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Features and classes of the labelled pixels whose class is predicted, N_G in this process's batch.

    Labels come to the logits' size by nearest neighbour.

    Args:
        variates: (B, h, w, C), any float type.
        logits: (B, K, h, w).
        labels: class ids, (B, H, W) of any integer type.
        num_variates: M, a divisor of C.
        ignore_index: id of unlabelled pixels.

    Returns:
        Features (N_G, M, D), float32 or float64, and classes (N_G,) int64.

    Raises:
        ConfigError: ``num_variates`` does not divide C.
    """
    if num_variates < 1 or variates.shape[-1] % num_variates:
        raise ConfigError(f"num_variates is {num_variates}; it must divide the {variates.shape[-1]} channels")
    labels = F.interpolate(labels[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
    correct = (logits.argmax(1) == labels) & (labels != ignore_index)
    features = variates[correct].unflatten(-1, (num_variates, -1))
    return at_least_float32(features), labels[correct]


def class_prototypes(features: Tensor, classes: Tensor, *, num_classes: int) -> ClassPrototypes:
    """Mean features of each class over the correct pixels of the batch, of all processes together.

    Args:
        features: of correct pixels, (N_G, M, D), float32 or float64.
        classes: (N_G,) int64.
        num_classes: K.

    Source: SD-CPC (arXiv 2412.08034), Eq. 4. Differences: over the batch, where the paper writes of one frame, so
    that a class meets the others of other frames.
    """
    membership = F.one_hot(classes, num_classes).to(features.dtype)
    with torch.autocast(features.device.type, enabled=False):
        # A product, because index_add_ on a GPU sums in another order each time.
        sums = _SumOverProcesses.apply((membership.T @ features.flatten(1)).unflatten(1, features.shape[1:]))
    counts = _SumOverProcesses.apply(membership.sum(0))
    return ClassPrototypes(sums / counts.clamp(min=1)[:, None, None], counts)


def prototype_contrast(features: Tensor, classes: Tensor, prototypes: ClassPrototypes, *, temperature: float) -> Tensor:
    """Pull pixels towards the prototype of their class and away from those of the other classes present.

    log(1 + sum of exp(negative) / exp(positive)) is the cross-entropy of a softmax over the prototypes, which is
    computed instead because it cannot overflow. Gradients flow through pixels and prototypes.

    Args:
        features: of correct pixels, (N_G, M, D), float32 or float64.
        classes: (N_G,) int64.
        prototypes: theirs.
        temperature: tau, > 0.

    Returns:
        Mean over variates and correct pixels, scalar; a differentiable zero where there are no pixels or one class.

    Raises:
        ConfigError: the temperature is not positive.

    Source: SD-CPC (arXiv 2412.08034), Eq. 5. Differences: cosines instead of products, so that tau means the same
    whatever the features' length, down to ``MIN_LENGTH``; negatives are the same variate of the other classes'
    prototypes.
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature is {temperature}; it must be above 0")
    num_variates = features.shape[1]
    with torch.autocast(features.device.type, enabled=False):
        cosines = torch.einsum("nmd,kmd->nmk", _unit(features), _unit(prototypes.means))
    logits = (cosines / temperature).masked_fill(prototypes.counts == 0, -torch.inf)
    total = F.cross_entropy(logits.flatten(0, 1), classes.repeat_interleave(num_variates), reduction="sum")
    return total * num_processes() / (num_variates * prototypes.counts.sum().clamp(min=1))


def variate_redundancy(prototypes: ClassPrototypes) -> Tensor:
    """How much the variates of a class's prototype repeat one another: mean cosine of their pairs.

    Returns:
        Mean over correct pixels, -1..1, scalar; a differentiable zero where there are none or M = 1.

    Source: SD-CPC (arXiv 2412.08034), Eq. 6. Differences: cosines, because products have no lower bound.
    """
    num_variates = prototypes.means.shape[1]
    num_pairs = num_variates * (num_variates - 1) // 2
    unit = _unit(prototypes.means)
    with torch.autocast(unit.device.type, enabled=False):
        per_class = (unit @ unit.mT).triu(diagonal=1).sum((1, 2)) / max(num_pairs, 1)
    return (prototypes.counts * per_class).sum() / prototypes.counts.sum().clamp(min=1)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=MIN_LENGTH)


class _SumOverProcesses(torch.autograd.Function):
    """Sum of every process's tensor, with a gradient: that of one's share is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        return sum_over_processes(share)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)
