"""Influence functions in the space of projected gradients: LoGra, GraSS and FactGraSS."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows
from headwater.attributors.block_gram import (
    Blocks,
    block_sizes,
    check_blocks,
    factorise,
    gram_blocks,
    whiten,
)
from headwater.attributors.source import GradientSource
from headwater.checks import check_positive
from headwater.gradients import Gradients
from headwater.projections import FactGraSS, GradientProjection, GraSS, Kronecker
from headwater.solvers import State
from headwater.task import AttributionTask

__all__ = ["ProjectedInfluence", "factgrass", "grass", "logra"]


class ProjectedInfluence(Attributor):
    """Estimate the effect of leaving a sample out with the empirical Fisher of projected gradients.

    φ_i = P∇ℓ_i and ψ_j = P∇f_j, another P for every checkpoint:
    scores[i, j] = -(1/n) ψ_jᵀ (ΦᵀΦ/n + λI)^-1 φ_i ≈ f_j(with i) - f_j(without i), in the unit of f.
    Self-influence: (1/n) φ_iᵀ (ΦᵀΦ/n + λI)^-1 φ_i. With several checkpoints, the mean.
    With blocks, ΦᵀΦ is taken as block-diagonal. Cost: one projection of every gradient, and k × k
    algebra; only the m test rows are multiplied by the inverse.

    Args:
        task: model, loss, target and checkpoints.
        projection: of every gradient; None where the gradients are projected already.
        damping: λ ≥ 0, absolute, added to ΦᵀΦ/n.
        blocks: number or sizes of the diagonal blocks; "layers": one a layer.

    Raises:
        ValueError: if the damping is negative, or the blocks do not fit the projection.

    Reference:
        Choe et al., What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence
        Functions, 2024.
    """

    def __init__(
        self,
        task: AttributionTask,
        projection: GradientProjection | None,
        damping: float,
        blocks: Blocks = 1,
    ) -> None:
        super().__init__(task)
        check_positive("damping", damping, allow_zero=True)
        check_blocks(blocks)
        self.projection, self.damping, self.blocks = projection, damping, blocks

    @property
    def takes_projected(self) -> bool:
        """Whether it has no projection of its own."""
        return self.projection is None

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """Project, with a projection of this checkpoint's own."""
        if self.projection is None:
            return gradients
        return gradients.project(self.projection.for_checkpoint(checkpoint))

    def prepare(self, source: GradientSource) -> State:
        """Return the blocks of ΦᵀΦ in float64, and {"count": n}; whatever the damping."""
        sizes = block_sizes(self.blocks, next(iter(source.train_blocks())))
        grams = gram_blocks((block.dense() for block in source.train_blocks()), sizes)
        n = sum(len(block) for block in source.train_blocks())
        return {**grams, "count": torch.tensor([n])}

    def solve(self, source: GradientSource, state: State) -> State:
        """Return {"vectors": (ΦᵀΦ + nλI)^-1 ψ_j}, (m, k): the 1/n is in it."""
        return {"vectors": whiten(self._factors(state), source.test().dense())}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -⟨φ_i, (ΦᵀΦ + nλI)^-1 ψ_j⟩."""
        start = 0
        for block in source.train_blocks():
            yield slice(start, start + len(block)), -(block.dense() @ solved["vectors"].T)
            start += len(block)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return ⟨φ_i, (ΦᵀΦ + nλI)^-1 φ_i⟩."""
        factors, parts = self._factors(state), []
        for block in source.train_blocks():
            phi = block.dense()
            parts.append((phi * whiten(factors, phi)).sum(1, dtype=torch.float64))
        return torch.cat(parts)

    def _factors(self, state: State) -> list[Tensor]:
        return factorise(state, self.damping, samples=int(state["count"]))


def logra(
    task: AttributionTask,
    dimension_in: int,
    dimension_out: int,
    damping: float,
    seed: int = 0,
    blocks: Blocks = "layers",
) -> ProjectedInfluence:
    """Return LoGra: two-sided random projections of each layer, and a Fisher matrix of each.

    Args:
        task: any loss, target and checkpoints.
        dimension_in: k_in, of the inputs of each layer.
        dimension_out: k_out, of the output gradients of each layer.
        damping: λ, absolute.
        seed: of the projections.
        blocks: 1 for one Fisher matrix of all layers together.

    Reference:
        Choe et al., What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence
        Functions, 2024.

    Example:
        >>> f = lambda model, batch: model(batch).sum(1)
        >>> method = logra(AttributionTask(torch.nn.Linear(3, 2), f), 2, 2, damping=0.1)
        >>> method.cache([torch.ones(4, 3)]).self_influence([torch.ones(4, 3)]).shape
        torch.Size([4])
    """
    projection = Kronecker(dimension_in, dimension_out, seed=seed)
    return ProjectedInfluence(task, projection, damping, blocks)


def grass(
    task: AttributionTask,
    dimension: int,
    damping: float,
    blowup: int = 4,
    seed: int = 0,
    blocks: Blocks = 1,
) -> ProjectedInfluence:
    """Return GraSS: masked gradients brought to k dimensions by a sparse projection.

    Args:
        task: any loss, target and checkpoints.
        dimension: k.
        damping: λ, absolute.
        blowup: coordinates kept for each dimension.
        seed: of mask and projection.
        blocks: number of diagonal blocks of the Fisher matrix.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.
    """
    projection = GraSS(dimension, seed, blowup=blowup)
    return ProjectedInfluence(task, projection, damping, blocks)


def factgrass(
    task: AttributionTask,
    dimension: int,
    damping: float,
    blowup: int = 4,
    seed: int = 0,
    blocks: Blocks = "layers",
) -> ProjectedInfluence:
    """Return FactGraSS: GraSS on the factors of each layer, which forms no gradient.

    Args:
        task: any loss, target and checkpoints.
        dimension: k of each layer.
        damping: λ, absolute.
        blowup: entries kept for each dimension.
        seed: of masks and projections.
        blocks: 1 for one Fisher matrix of all layers together.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.
    """
    projection = FactGraSS(dimension, blowup, seed=seed)
    return ProjectedInfluence(task, projection, damping, blocks)
