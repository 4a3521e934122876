"""Multivariate head (MCP): M variates of the aligned features, each with its own classifier, one decision."""

from torch import Tensor, nn

from sdcpc_core.models.layers import Linear


class MultivariateHead(nn.Module):
    """D_fine -> class logits by joint decision of M variates.

    Args:
        channels: C, divisible by ``num_variates``.
        num_classes: K.
        num_variates: M.

    Source: SD-CPC (arXiv 2412.08034), section 3, "Multivariate Class Prototypes". The paper does not say how
    the decision is joint: here a learned 1x1 convolution from M K to K, also for M = 1, as its GFLOPs tell.
    """

    def __init__(self, channels: int, num_classes: int, num_variates: int) -> None:
        super().__init__()
        self.num_variates = num_variates
        # No norm before it: one that levels the lengths of tokens learns as fast, but rare classes come out worse.
        self.project = Linear(channels, channels)
        self.classify = nn.Conv2d(channels, num_variates * num_classes, 1, groups=num_variates)
        self.decide = nn.Conv2d(num_variates * num_classes, num_classes, 1)
        # Starts as the mean of the variates' votes, so that each variate is trained from the first step.
        nn.init.zeros_(self.decide.weight)
        for votes in self.decide.weight.data[:, :, 0, 0].chunk(num_variates, dim=1):
            votes.fill_diagonal_(1 / num_variates)
        nn.init.zeros_(self.decide.bias)

    def forward(self, aligned: Tensor) -> Tensor:
        """Logits (B, K, h, w) of aligned features (B, h, w, C)."""
        return self.logits(self.variates(aligned))

    def logits(self, variates: Tensor) -> Tensor:
        """Joint decision (B, K, h, w) on multivariate features (B, h, w, C)."""
        return self.decide(self.classify(variates.permute(0, 3, 1, 2)))

    def variates(self, aligned: Tensor) -> Tensor:
        """The multivariate features, (B, h, w, C); variate m holds channels m C / M to (m + 1) C / M."""
        return self.project(aligned)
