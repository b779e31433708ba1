"""The Gauss-Newton matrix seen along each sample's margin: one row per sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from headwater import targets
from headwater.batches import Batch, to_device
from headwater.checks import agree
from headwater.curvature.row_curvature import SampleCurvature
from headwater.task import AttributionTask, BoundModel, SampleFunction

__all__ = ["MarginGaussNewton", "MarginKernel", "check_margin"]


@dataclass(frozen=True)
class MarginGaussNewton(SampleCurvature):
    """C = (1/n) Σ_i p_i(1-p_i) ∇m_i ∇m_iᵀ: the Gauss-Newton matrix along each sample's margin.

    For cross-entropy ∇ℓ_i = -(1-p_i) ∇m_i with the margin m = log p/(1-p), and -(1-p) has the
    derivative p(1-p) with respect to m. With two classes it is the whole Gauss-Newton matrix; with
    more, `GaussNewton` has all classes, at the price of products through the model.

    Args:
        margin: the margin whose loss is softplus(-margin) = -log p.

    Reference:
        Martens, New Insights and Perspectives on the Natural Gradient Method, JMLR 2020.
    """

    margin: SampleFunction = targets.margin

    def function(self, task: AttributionTask) -> SampleFunction:
        """Return the margin."""
        return self.margin

    def row_scale(self, values: Tensor) -> Tensor:
        """Return √(p(1-p)), from log p = -softplus(-m) and log(1-p) = -softplus(m)."""
        m = values.to(torch.float64)
        # Products with g_i are those with the row, divided by ρ_i: it must not underflow to 0.
        return torch.exp(-0.5 * (softplus(-m) + softplus(m))).clamp_min(1e-150)

    def loss_scale(self, values: Tensor) -> Tensor:
        """Return -(1-p)."""
        return -torch.sigmoid(-values.to(torch.float64))

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse a loss that is not -log p of this margin."""
        check_margin(model, task.loss, self.margin, batch)


@dataclass(frozen=True)
class MarginKernel(MarginGaussNewton):
    """C = (1/n) Σ_i ∇m_i ∇m_iᵀ: the same without the weights p(1-p), as TRAK has it.

    Args:
        margin: the margin whose loss is softplus(-margin) = -log p.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    def row_scale(self, values: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(values, dtype=torch.float64)


def check_margin(
    model: BoundModel, loss: SampleFunction, margin: SampleFunction, batch: Batch
) -> None:
    """Check on one batch that loss = log(1 + exp(-margin)), so that ∇ℓ = -(1-p)∇margin.

    Raises:
        ValueError: if it is not.
    """
    batch = to_device(batch, model.device)
    with torch.no_grad():
        found = model.values(loss, batch)
        wanted = softplus(-model.values(margin, batch))
    if not agree(found, wanted, rtol=1e-2, atol=1e-4):
        worst = int((found - wanted).abs().argmax())
        raise ValueError(
            "the loss must be the cross-entropy that belongs to the margin, log(1 + exp(-margin)), "
            f"got {float(found[worst]):.4g} instead of {float(wanted[worst]):.4g} at sample {worst}; "
            "pass headwater.targets.margin as target and a cross-entropy as loss"
        )
