"""TRAK: projected gradients of the margin, whitened, averaged over an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows, check_target
from headwater.attributors.block_gram import (
    Blocks,
    block_sizes,
    check_blocks,
    factorise,
    gram_blocks,
    whiten,
)
from headwater.attributors.soft_threshold import check_fraction, soft_threshold
from headwater.attributors.source import GradientSource
from headwater.batches import Batch
from headwater.checks import check_positive
from headwater.curvature.sample_curvature import check_margin
from headwater.gradients import DenseGradients, Gradients
from headwater.projections import GradientProjection, LearnedProjection
from headwater.solvers import State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["TRAK"]

ROWS = 4096
"""Training samples that are scored at a time, where their features are kept."""


class TRAK(Attributor):
    """Explain a margin by projected gradients: after linearisation, the Newton step of a GLM.

    φ = P∇m (k numbers a sample, another P for every checkpoint), m the margin log p/(1-p):
    scores[i, j] = mean_c[ φ_j (ΦᵀΦ + λI)^-1 φ_i ] · mean_c[ 1-p_i ].
    With blocks, Σ_b φ_jb (Φ_bᵀΦ_b + λI)^-1 φ_ib: all that is between two blocks is left out, which
    allows many more dimensions than samples (TRAK-WOMP).
    Self-influence: mean_c[ φ_i (ΦᵀΦ + λI)^-1 φ_i ] · mean_c[ 1-p_i ]², without the threshold.
    Cost: one projection of every gradient, and k × k algebra.

    Args:
        task: its target must be the margin of its loss; checkpoints are independently trained models.
        projection: random, or learned (`ArnoldiProjection`: the Hessian's leading directions, kept in
            the state); None where the gradients are projected already.
        damping: λ ≥ 0, absolute, added to ΦᵀΦ.
        blocks: number or sizes of the diagonal blocks of ΦᵀΦ; "layers": one a layer.
        soft_threshold: fraction of the training samples whose score for a test sample is kept, see
            `headwater.attributors.soft_threshold`; None: all.

    Raises:
        ValueError: if the damping is negative, or the target is not the margin of the loss.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    def __init__(
        self,
        task: AttributionTask,
        projection: GradientProjection | LearnedProjection | None,
        damping: float = 0.0,
        blocks: Blocks = 1,
        soft_threshold: float | None = None,
    ) -> None:
        super().__init__(task)
        check_target(task, "TRAK")
        check_positive("damping", damping, allow_zero=True)
        check_blocks(blocks)
        if soft_threshold is not None:
            check_fraction(soft_threshold)
        self.projection, self.damping = projection, damping
        self.blocks, self.soft_threshold = blocks, soft_threshold

    @property
    def train_function(self) -> SampleFunction:
        """The margin, on both sides."""
        return self.task.target

    @property
    def takes_projected(self) -> bool:
        """Whether it has no projection of its own."""
        return self.projection is None

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """Project, with a projection of this checkpoint's own."""
        if isinstance(self.projection, GradientProjection):
            return gradients.project(self.projection.for_checkpoint(checkpoint))
        return gradients

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a target that is not the margin of the loss."""
        check_margin(source.model, self.task.loss, self.task.target, batch)

    def prepare(self, source: GradientSource) -> State:
        """Return the blocks of ΦᵀΦ in float64, whatever the damping.

        Where P is learned, with "basis": P (k, p), and "features": Φ (n, k).
        """
        if self.projection is None or isinstance(self.projection, GradientProjection):
            sizes = block_sizes(self.blocks, next(iter(source.train_blocks())))
            return gram_blocks((block.dense() for block in source.train_blocks()), sizes)
        basis = self.projection.fit(source)
        directions = DenseGradients(basis)
        features = torch.cat([block.inner(directions) for block in source.train_blocks()])
        sizes = block_sizes(self.blocks, DenseGradients(features))
        return {"basis": basis, "features": features, **gram_blocks([features], sizes)}

    def solve(self, source: GradientSource, state: State) -> State:
        """Return {"vectors": (ΦᵀΦ + λI)^-1 φ_j}, (m, k), and the features if they are kept."""
        factors, test = factorise(state, self.damping), source.test()
        if "basis" not in state:
            return {"vectors": whiten(factors, test.dense())}
        phi = test.inner(DenseGradients(state["basis"]))
        return {"vectors": whiten(factors, phi), "features": state["features"]}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield φ_i (ΦᵀΦ + λI)^-1 φ_j: two minus signs, ∇ℓ = -(1-p)∇m, have met."""
        start = 0
        for phi in _features(source, solved):
            yield slice(start, start + len(phi)), phi @ solved["vectors"].T
            start += len(phi)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return φ_i (ΦᵀΦ + λI)^-1 φ_i."""
        factors = factorise(state, self.damping)
        parts = [
            (phi * whiten(factors, phi)).sum(1, dtype=torch.float64)
            for phi in _features(source, state)
        ]
        return torch.cat(parts)

    def sample_weight(self, source: GradientSource) -> Tensor:
        """Return 1-p_i = sigmoid(-m_i)."""
        return torch.sigmoid(-source.train_values().to(torch.float64))

    def scores_into(
        self,
        out: NDArray[np.float32],
        sources: Sequence[GradientSource],
        solved: Sequence[State],
    ) -> None:
        """Write the scores into an array (n_train, n_test), and shrink them if asked to."""
        super().scores_into(out, sources, solved)
        if self.soft_threshold is not None:
            soft_threshold(out, self.soft_threshold)


def _features(source: GradientSource, state: State) -> Iterator[Tensor]:
    """Yield Φ, some rows at a time: as it is kept, or as the source has it."""
    if "features" in state:
        yield from state["features"].split(ROWS)
    else:
        yield from (block.dense() for block in source.train_blocks())
