"""Two-sided projections of each layer: LoGra's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from headwater.checks import check_positive
from headwater.projections.layerwise import IN, OUT, WHOLE, LayerwiseProjection, fitted, with_bias
from headwater.projections.projection import Projection
from headwater.projections.rademacher import Rademacher
from headwater.projections.tiles import RandomMatrix

if TYPE_CHECKING:
    from headwater.gradients import LinearFactors

__all__ = ["Kronecker"]


@dataclass(frozen=True)
class Kronecker(LayerwiseProjection):
    """Project inputs and output gradients of each Linear layer on their own: P_l = P_out ⊗ P_in.

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
        >>> from headwater.gradients import LinearFactors
        >>> factors = LinearFactors(torch.ones(3, 1, 50), torch.ones(3, 1, 40), bias=True)
        >>> Kronecker(dimension_in=4, dimension_out=2).of_layer("head", factors).shape
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

    def side(self, name: str, side: int) -> Projection:
        """Return P_in or P_out of a layer."""
        dimension = self.dimension_in if side == IN else self.dimension_out
        return self.kind(dimension, self.seed_of(name, side), self.checkpoint)

    def of_layer(self, name: str, factors: LinearFactors) -> Tensor:
        """Return Σ_t (P_out e_it)(P_in [a_it; 1])ᵀ row by row, (n, k_out·k_in)."""
        a = fitted(self.side(name, IN), with_bias(factors))
        e = fitted(self.side(name, OUT), factors.errors)
        return (e.mT @ a).flatten(1)

    def of_rest(self) -> Projection:
        """Return the matrix of all other parameters."""
        dimension = self.dimension_in * self.dimension_out
        return self.kind(dimension, self.seed_of("", WHOLE), self.checkpoint)
