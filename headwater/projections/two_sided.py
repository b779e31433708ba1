"""Two-sided projections of each layer: LoGra's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import Matrix, Term
from headwater.projections.layerwise import LayerwiseProjection, two_sided
from headwater.projections.projection import Projection, fitted
from headwater.projections.rademacher import Rademacher
from headwater.projections.tiles import RandomMatrix

__all__ = ["Kronecker"]


@dataclass(frozen=True)
class Kronecker(LayerwiseProjection):
    """Project inputs and output gradients of each layer on their own: P_l = P_out ⊗ P_in.

    P_l ∇f_i = Σ_t (P_out e_it)(P_in [a_it; 1])ᵀ, without the 1 where there is no bias; the two
    matrices of a layer, and those of all layers, are independent. A side that is no longer than its
    dimension is kept as it is. The rest of the parameters is one dense block of at most
    k_in · k_out dimensions. Cost: n T (d_in k_in + d_out k_out + k_in k_out) a layer.

    Args:
        dimension_in: k_in.
        dimension_out: k_out.
        kind: Rademacher or Gaussian entries.
        seed: what all matrices are drawn from.
        checkpoint: every checkpoint has matrices of its own.

    Reference:
        Choe et al., What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence
        Functions, 2024.

    Example:
        >>> import torch
        >>> from headwater.gradients import Outer
        >>> term = Outer(torch.ones(3, 1, 50), torch.ones(3, 1, 40), bias=True)
        >>> Kronecker(dimension_in=4, dimension_out=2).of_layer("head", term, term.matrix).shape
        torch.Size([3, 8])
    """

    dimension_in: int
    dimension_out: int
    kind: type[RandomMatrix] = Rademacher

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("the projection's dimension_in", self.dimension_in)
        check_positive("the projection's dimension_out", self.dimension_out)
        check_positive("the projection's seed", self.seed, allow_zero=True)

    def sides(self, name: str) -> tuple[RandomMatrix, RandomMatrix]:
        """Return P_in and P_out of a layer."""
        return (
            self.kind(self.dimension_in, self.seed_of(name, "in"), self.checkpoint),
            self.kind(self.dimension_out, self.seed_of(name, "out"), self.checkpoint),
        )

    def of_layer(self, name: str, term: Term, matrix: Matrix) -> Tensor:
        """Return Σ_t (P_out e_it)(P_in [a_it; 1])ᵀ row by row, (n, k_out · k_in)."""
        inputs, outputs = self.sides(name)
        return two_sided(term, fitted(inputs, matrix.columns), fitted(outputs, matrix.d_out))

    def of_rest(self) -> Projection:
        """Return the projection of the parameters without a matrix."""
        dimension = self.dimension_in * self.dimension_out
        return self.kind(dimension, self.seed_of("", "rest"), self.checkpoint)
