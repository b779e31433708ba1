"""Curvatures that are means of outer products of the samples' gradients, and what scales them."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from headwater import targets
from headwater.batches import Batch, to_device
from headwater.checks import agree
from headwater.curvature.curvature import Curvature
from headwater.curvature.operator import MEAN_OVER_SAMPLES, ROW_PER_SAMPLE, ROWS
from headwater.curvature.row_operator import RowOperator
from headwater.gradients.source import GradientSource
from headwater.task import AttributionTask, BoundModel, SampleFunction


class OuterProductCurvature(Curvature):
    """C = (1/n) Σ_i ρ_i² g_i g_iᵀ, made of one gradient per sample, with ∇ℓ_i = σ_i g_i."""

    offers = frozenset({MEAN_OVER_SAMPLES, ROWS, ROW_PER_SAMPLE})
    whole = False

    @abstractmethod
    def row_scale(self, values: Tensor) -> Tensor:
        """Return ρ (n,) from the function's values (n,), in float64."""

    def operator(self, source: GradientSource, estimated: Mapping[str, Tensor]) -> RowOperator:
        """Return the operator made of the training gradients."""
        budget = source.task.memory_budget // 4
        return RowOperator(source, self.row_scale(source.values()), budget=budget)


@dataclass(frozen=True)
class EmpiricalFisher(OuterProductCurvature):
    """C = (1/n) Σ_i ∇ℓ_i ∇ℓ_iᵀ, for any loss.

    Reference:
        Kunstner, Balles and Hennig, Limitations of the Empirical Fisher Approximation, NeurIPS 2019.
    """

    def row_scale(self, values: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(values, dtype=torch.float64)


@dataclass(frozen=True)
class MarginGaussNewton(OuterProductCurvature):
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
        """Refuse a loss that is not -log p = log(1 + exp(-margin))."""
        batch = to_device(batch, model.device)
        with torch.no_grad():
            found = model.values(task.loss, batch)
            wanted = softplus(-model.values(self.margin, batch))
        if not agree(found, wanted, rtol=1e-2, atol=1e-4):
            i = int((found - wanted).abs().argmax())
            raise ValueError(
                "the loss must be the cross-entropy that belongs to the margin, log(1 + exp(-margin)), "
                f"got {float(found[i]):.4g} instead of {float(wanted[i]):.4g} at sample {i}; "
                "pass headwater.targets.margin as target and a cross-entropy as loss"
            )


@dataclass(frozen=True)
class MarginKernel(MarginGaussNewton):
    """C = (1/n) Σ_i ∇m_i ∇m_iᵀ: `MarginGaussNewton` without the weights p(1-p), as TRAK has it.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    def row_scale(self, values: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(values, dtype=torch.float64)
