"""Curvatures with one row a sample: C = (1/n) Σ ρ_i² g_i g_iᵀ and ∇ℓ_i = σ_i g_i.

| curvature | function | ρ_i | σ_i |
|---|---|---|---|
| EmpiricalFisher | the loss | 1 | 1 |
| GaussNewton | margin m = log p/(1-p) | √(p(1-p)) | -(1-p) |
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from headwater import targets
from headwater.batches import Batch, to_device
from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.operator import MEAN_OVER_SAMPLES, ROW_PER_SAMPLE, ROWS
from headwater.curvature.rows import RowOperator
from headwater.task import AttributionTask, BoundModel, SampleFunction

__all__ = ["EmpiricalFisher", "GaussNewton", "SampleCurvature", "check_margin"]


class SampleCurvature(Curvature):
    """A positive semi-definite curvature with one row a sample: C = (1/n) Σ ρ_i² g_i g_iᵀ."""

    offers: ClassVar[frozenset[str]] = frozenset({MEAN_OVER_SAMPLES, ROWS, ROW_PER_SAMPLE})
    whole: ClassVar[bool] = False

    @abstractmethod
    def row_scale(self, values: Tensor) -> Tensor:
        """Return ρ (n,) from the function's values (n,)."""

    def operator(self, source: TrainingData, estimated: Mapping[str, Tensor]) -> RowOperator:
        """Return the operator made of the training gradients."""
        gradients = source.train()
        return RowOperator(gradients, self.row_scale(gradients.values))


@dataclass(frozen=True)
class EmpiricalFisher(SampleCurvature):
    """C = (1/n) Σ_i ∇ℓ_i ∇ℓ_iᵀ, for any loss.

    Reference:
        Kunstner, Balles and Hennig, Limitations of the Empirical Fisher Approximation, NeurIPS 2019.
    """

    def row_scale(self, values: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(values, dtype=torch.float64)


@dataclass(frozen=True)
class GaussNewton(SampleCurvature):
    """C = (1/n) Σ_i p_i(1-p_i) ∇m_i ∇m_iᵀ: the Gauss-Newton matrix seen along each sample's margin.

    For cross-entropy ∇ℓ_i = -(1-p_i) ∇m_i with the margin m = log p/(1-p), and -(1-p) has the
    derivative p(1-p) with respect to m. With two classes it is the whole Gauss-Newton matrix.

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
        # Never 0: a row is divided by its scale again, and ρ/ρ must stay 1.
        return torch.exp(-0.5 * (softplus(-m) + softplus(m))).clamp_min(1e-150)

    def loss_scale(self, values: Tensor) -> Tensor:
        """Return -(1-p)."""
        return -torch.sigmoid(-values.to(torch.float64))

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse a loss that is not -log p of this margin."""
        check_margin(model, task.loss, self.margin, batch)


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
    if not torch.allclose(found, wanted, rtol=1e-2, atol=1e-4):
        worst = int((found - wanted).abs().argmax())
        raise ValueError(
            "the loss must be the cross-entropy that belongs to the margin, log(1 + exp(-margin)), "
            f"got {float(found[worst]):.4g} instead of {float(wanted[worst]):.4g} at sample {worst}; "
            "pass headwater.targets.margin as target and a cross-entropy as loss"
        )
