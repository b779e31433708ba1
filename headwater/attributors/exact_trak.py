"""TRAK without its projection: the kernel of the margin gradients, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.attributors.attributor import check_target
from headwater.attributors.influence_function import InfluenceFunction
from headwater.attributors.source import GradientSource
from headwater.batches import Batch
from headwater.curvature import GaussNewton
from headwater.curvature.sample_curvature import check_margin
from headwater.gradients import Gradients
from headwater.solvers import Woodbury
from headwater.task import AttributionTask

__all__ = ["ExactTRAK"]


class ExactTRAK(InfluenceFunction):
    """Explain a margin by its own kernel, the sample weights averaged over models by themselves.

    With m the margin log p/(1-p) and C_c = (1/n) Σ p_i(1-p_i) ∇m_i ∇m_iᵀ at model c,

    scores[i, j] = mean_c[ (1/n) ∇m_jᵀ (C_c + λI)^-1 ∇m_i ] · mean_c[ 1-p_i ].

    It is TRAK with infinitely many projections, and with the weights p(1-p) of the Newton step that TRAK
    leaves out. `InfluenceFunction` with `GaussNewton` weighs a sample with each model's own 1-p_i
    instead: nearly 0 wherever a model was trained on it, so that models trained on subsets hardly see
    their own samples. Here the others speak for them. Self-influence:
    mean_c[ (1/n) ∇m_iᵀ (C_c + λI)^-1 ∇m_i ] · mean_c[ 1-p_i ]². Cost: one n × n Cholesky factorisation
    a model, whatever the number of parameters.

    Args:
        task: its target must be the margin of its loss; checkpoints are independently trained models,
            best stopped early, before they know their training samples by heart.
        damping: λ > 0, absolute.

    Raises:
        ValueError: if the damping is not positive, or the target is not the margin of the loss.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.

    Example:
        >>> from headwater import targets
        >>> task = AttributionTask(torch.nn.Linear(2, 3), targets.cross_entropy, targets.margin)
        >>> train = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> ExactTRAK(task, damping=0.1).cache(train).attribute(train, train).shape
        torch.Size([2, 2])
    """

    def __init__(self, task: AttributionTask, damping: float) -> None:
        check_target(task, "ExactTRAK")
        super().__init__(task, Woodbury(damping), GaussNewton(task.target))

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a target that is not the margin of the loss."""
        check_margin(source.model, self.task.loss, self.task.target, batch)

    def sample_weight(self, source: GradientSource) -> Tensor:
        """Return 1-p_i = sigmoid(-m_i)."""
        return torch.sigmoid(-source.train_values().to(torch.float64))

    def _scales(self, gradients: Gradients) -> tuple[Tensor, Tensor]:
        """Return ρ and -1: the weight 1-p of ∇ℓ = -(1-p)∇m is averaged by itself."""
        row_scale = self.curvature.row_scale(gradients.values)
        return row_scale, -torch.ones_like(row_scale)
