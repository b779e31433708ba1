"""FactGraSS: masks on both sides of a layer, then a sparse projection of their product."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import Matrix, Term
from headwater.projections.grass import GraSS
from headwater.projections.layerwise import LayerwiseProjection, two_sided
from headwater.projections.mask import RandomMask
from headwater.projections.projection import Projection, fitted
from headwater.projections.sparse import SparseJL

__all__ = ["FactGraSS"]


@dataclass(frozen=True)
class FactGraSS(LayerwiseProjection):
    """Mask both sides of each layer, then bring their product to k dimensions.

    P_l ∇f_i = SparseJL( Σ_t (M_out e_it)(M_in [a_it; 1])ᵀ ), with masks that leave blowup · k
    entries in a nearly square part of the layer, or all of a side that is shorter. Each layer has
    min(k, entries) dimensions; the rest of the parameters is one block projected by GraSS.
    Cost: n T · blowup · k a layer, whatever its size.

    Args:
        dimension: k of each layer.
        blowup: entries kept for each dimension.
        nonzeros: outputs that an entry is added to.
        seed: what all maps are drawn from.
        checkpoint: every checkpoint has maps of its own.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.

    Example:
        >>> import torch
        >>> from headwater.gradients import Outer
        >>> term = Outer(torch.ones(3, 1, 50), torch.ones(3, 1, 40), bias=True)
        >>> FactGraSS(dimension=16).of_layer("head", term, term.matrix).shape
        torch.Size([3, 16])
    """

    dimension: int
    blowup: int = 4
    nonzeros: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("the projection's seed", self.seed, allow_zero=True)
        _ = self.of_rest()  # checks all others

    def sides(self, name: str, matrix: Matrix) -> tuple[RandomMask, RandomMask]:
        """Return the masks of the inputs and of the output gradients of a layer."""
        entries = self.dimension * self.blowup
        side = math.ceil(math.sqrt(entries))
        kept_in = max(side, math.ceil(entries / matrix.d_out))
        kept_out = max(side, math.ceil(entries / matrix.columns))
        return (
            RandomMask(kept_in, self.seed_of(name, "in"), self.checkpoint),
            RandomMask(kept_out, self.seed_of(name, "out"), self.checkpoint),
        )

    def sparse(self, name: str) -> SparseJL:
        """Return the sparse projection of a layer."""
        seed = self.seed_of(name, "whole")
        return SparseJL(self.dimension, seed, self.checkpoint, self.nonzeros)

    def of_layer(self, name: str, term: Term, matrix: Matrix) -> Tensor:
        """Return the masked and projected gradients of one layer, (n, k_l)."""
        inputs, outputs = self.sides(name, matrix)
        kept = two_sided(term, fitted(inputs, matrix.columns), fitted(outputs, matrix.d_out))
        sparse = fitted(self.sparse(name), kept.shape[1])
        return kept if sparse is None else sparse(kept)

    def of_rest(self) -> Projection:
        """Return the projection of the parameters without a matrix."""
        seed = self.seed_of("", "rest")
        return GraSS(self.dimension, seed, self.checkpoint, self.blowup, self.nonzeros)
