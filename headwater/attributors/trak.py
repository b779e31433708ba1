"""TRAK: randomly projected gradients of the margin, whitened, averaged over an ensemble."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows
from headwater.attributors.source import GradientSource
from headwater.batches import Batch
from headwater.checks import check_positive
from headwater.curvature.sample_curvature import check_margin
from headwater.gradients import DenseGradients, Gradients
from headwater.projections import Projection
from headwater.solvers import State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["TRAK"]


class TRAK(Attributor):
    """Explain a margin by projected gradients: after linearisation, the Newton step of a GLM.

    φ = P∇m (k numbers a sample, another P for every checkpoint), m the margin log p/(1-p):
    scores[i, j] = mean_c[ φ_j (ΦᵀΦ + λI)^-1 φ_i ] · mean_c[ 1-p_i ].
    Self-influence: mean_c[ φ_i (ΦᵀΦ + λI)^-1 φ_i ] · mean_c[ 1-p_i ]². Cost: one projection of
    every gradient, and k × k algebra.

    Args:
        task: its target must be the margin of its loss; checkpoints are independently trained models.
        projection: kind, dimension k and seed; None where the gradients are projected already.
        damping: λ ≥ 0, absolute, added to ΦᵀΦ.

    Raises:
        ValueError: if the damping is negative, or the target is not the margin of the loss.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    def __init__(
        self, task: AttributionTask, projection: Projection | None, damping: float = 0.0
    ) -> None:
        super().__init__(task)
        check_positive("damping", damping, allow_zero=True)
        self.projection, self.damping = projection, damping

    @property
    def train_function(self) -> SampleFunction:
        """The margin, on both sides."""
        return self.task.target

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """Project, with a projection of this checkpoint's own."""
        if self.projection is None:
            return gradients
        return gradients.project(self.projection.for_checkpoint(checkpoint))

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a target that is not the margin of the loss."""
        check_margin(source.model, self.task.loss, self.task.target, batch)

    def prepare(self, source: GradientSource) -> State:
        """Return {"gram": ΦᵀΦ}, (k, k) in float64; it does not depend on the damping."""
        gram: Tensor | None = None
        for block in source.train_blocks():
            phi = block.dense().to(torch.float64)
            gram = phi.T @ phi if gram is None else gram.addmm_(phi.T, phi)
        assert gram is not None
        return {"gram": gram}

    def solve(self, source: GradientSource, state: State) -> State:
        """Return {"vectors": (ΦᵀΦ + λI)^-1 φ_j}, (m, k)."""
        return {"vectors": self._whiten(state, source.test().dense())}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield φ_i (ΦᵀΦ + λI)^-1 φ_j: two minus signs, ∇ℓ = -(1-p)∇m, have met."""
        whitened, start = DenseGradients(solved["vectors"]), 0
        for block in source.train_blocks():
            yield slice(start, start + len(block)), block.inner(whitened)
            start += len(block)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return φ_i (ΦᵀΦ + λI)^-1 φ_i."""
        parts = []
        for block in source.train_blocks():
            phi = block.dense()
            parts.append((phi * self._whiten(state, phi)).sum(1, dtype=torch.float64))
        return torch.cat(parts)

    def sample_weight(self, source: GradientSource) -> Tensor:
        """Return 1-p_i = sigmoid(-m_i)."""
        values = torch.cat([block.values for block in source.train_blocks()])
        return torch.sigmoid(-values.to(torch.float64))

    def _whiten(self, state: State, phi: Tensor) -> Tensor:
        gram = state["gram"].clone()
        gram.diagonal().add_(self.damping)
        factor, info = torch.linalg.cholesky_ex(gram)
        # Pivots of a singular matrix are rounding errors, which may well be positive.
        pivots = factor.diagonal().square()
        least = len(gram) * torch.finfo(gram.dtype).eps * gram.diagonal().max()
        if int(info) != 0 or bool((pivots <= least).any()):
            raise ValueError(
                f"ΦᵀΦ + λI must be positive definite, got a singular matrix of size {len(gram)} with "
                f"damping {self.damping}; use a dimension below the number of samples, or damping > 0"
            )
        return torch.cholesky_solve(phi.to(torch.float64).T, factor).T.to(phi.dtype).contiguous()
