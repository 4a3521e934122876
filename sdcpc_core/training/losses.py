"""Training losses, as pure functions.

Where several processes train together, each calls them with its own share of the batch, and the mean of the processes'
losses, and of their gradients, is that of one process.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.training.processes import num_processes, sum_over_processes


def segmentation_loss(
    logits: Tensor, labels: Tensor, *, ignore_index: int, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the logits, enlarged bilinearly to the labels' size.

    Args:
        logits: (B, K, h, w), any float type; computed in float32.
        labels: class ids, (B, H, W) of any integer type.
        ignore_index: id of unlabelled pixels.
        class_weights: weight of each class, > 0, (K,) float32; all 1 where absent.

    Returns:
        Weighted mean over the labelled pixels of the batch, scalar float32; a differentiable zero when there are none.

    Source: SD-CPC (arXiv 2412.08034), Eq. 3. Differences: optional class weights.
    """
    labels = labels.long()
    full = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(full, labels, class_weights, ignore_index=ignore_index, reduction="sum")
    labelled = labels[labels != ignore_index]
    weight = total.new_tensor(labelled.numel()) if class_weights is None else class_weights[labelled].sum()
    return total * num_processes() / sum_over_processes(weight).clamp(min=1e-6)


def restoration_loss(logits: Tensor, undisturbed: Tensor, *, class_weights: Tensor) -> Tensor:
    """Cross-entropy of a prediction from disturbed features against that from undisturbed ones; needs no truth.

    A token counts as much as its classes are worth, not each of its classes for itself: the optimum would then be
    another prediction, which sees rare classes everywhere.

    Args:
        logits: (B, K, h, w), any float type; computed in float32.
        undisturbed: logits like these; they get no gradient.
        class_weights: weight of each class, > 0, (K,) float32.

    Returns:
        Weighted mean over all tokens of the batch, of all processes together, scalar float32.
    """
    expected = undisturbed.detach().float().softmax(1)
    weight = (expected * class_weights.view(-1, 1, 1)).sum(1)
    total = (F.cross_entropy(logits.float(), expected, reduction="none") * weight).sum()
    return total * num_processes() / sum_over_processes(weight.sum())


def balanced_class_weights(frequencies: Tensor, power: float) -> Tensor:
    """Weights that favour rare classes: (median frequency / frequency) ** power.

    Args:
        frequencies: share of each class among the labelled pixels, (K,); absent classes (0) get weight 1.
        power: 0 for equal weights, 1 for full median-frequency balancing.

    Returns:
        (K,) float32.

    Source: Eigen and Fergus (arXiv 1411.4734), as used by SegNet. Differences: the power softens it.
    """
    present = frequencies > 0
    median = frequencies[present].median()
    return torch.where(present, (median / frequencies.clamp(min=1e-12)) ** power, 1.0).float()
