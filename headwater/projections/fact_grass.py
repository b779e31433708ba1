"""FactGraSS: masks on both factors of a layer, then a sparse projection of their product."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.projections.grass import GraSS
from headwater.projections.layerwise import IN, OUT, WHOLE, LayerwiseProjection, fitted, with_bias
from headwater.projections.mask import RandomMask
from headwater.projections.projection import Projection
from headwater.projections.sparse import SparseJL

if TYPE_CHECKING:
    from headwater.gradients import LinearFactors

__all__ = ["FactGraSS"]

WORKSPACE = 2**25
"""Numbers that the products of one chunk of samples may hold (128 MiB in float32)."""


@dataclass(frozen=True)
class FactGraSS(LayerwiseProjection):
    """Mask both factors of each Linear layer, then bring their product to k dimensions.

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
        >>> from headwater.gradients import LinearFactors
        >>> factors = LinearFactors(torch.ones(3, 1, 50), torch.ones(3, 1, 40), bias=True)
        >>> FactGraSS(dimension=16).of_layer("head", factors).shape
        torch.Size([3, 16])
    """

    dimension: int
    blowup: int = 4
    nonzeros: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("the projection's seed", self.seed, allow_zero=True)
        _ = self.of_rest()  # checks all others

    def masks(self, name: str, d_in: int, d_out: int) -> tuple[RandomMask, RandomMask]:
        """Return the masks of the inputs and of the output gradients of a layer."""
        entries = self.dimension * self.blowup
        side = math.ceil(math.sqrt(entries))
        kept_in = min(d_in, max(side, math.ceil(entries / d_out)))
        kept_out = min(d_out, max(side, math.ceil(entries / d_in)))
        return (
            RandomMask(kept_in, self.seed_of(name, IN), self.checkpoint),
            RandomMask(kept_out, self.seed_of(name, OUT), self.checkpoint),
        )

    def sparse(self, name: str) -> SparseJL:
        """Return the sparse projection of a layer."""
        seed = self.seed_of(name, WHOLE)
        return SparseJL(self.dimension, seed, self.checkpoint, self.nonzeros)

    def of_layer(self, name: str, factors: LinearFactors) -> Tensor:
        """Return the masked and projected gradients of one layer, (n, k_l)."""
        a, e = with_bias(factors), factors.errors
        mask_in, mask_out = self.masks(name, a.shape[-1], e.shape[-1])
        a, e = fitted(mask_in, a), fitted(mask_out, e)
        sparse, rows = self.sparse(name), max(1, WORKSPACE // (a.shape[-1] * e.shape[-1]))
        parts = zip(a.split(rows), e.split(rows), strict=True)
        return torch.cat([fitted(sparse, (right.mT @ left).flatten(1)) for left, right in parts])

    def of_rest(self) -> Projection:
        """Return the projection of all other parameters."""
        seed = self.seed_of("", WHOLE)
        return GraSS(self.dimension, seed, self.checkpoint, self.blowup, self.nonzeros)
