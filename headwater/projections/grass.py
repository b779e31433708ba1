"""GraSS: a random mask, then a sparse projection of what is left; FactGraSS: the same of each layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import Gradients, Matrix, Term
from headwater.hashing import random_below, random_words
from headwater.projections.layerwise import LayerwiseProjection, two_sided
from headwater.projections.projection import Projection, fitted
from headwater.projections.sparse import SparseJL


@dataclass(frozen=True)
class RandomMask(Projection):
    """Keep one random coordinate of each of k parts of the gradient, times √(size of the part).

    The parts are as equal as whole numbers can be: the factors are √(p/k) or next to it, inner products
    are kept on average exactly, and every layer has its share. Only the entries that are kept are ever
    computed: n k in place of n p. Vectors of fewer than k coordinates are refused with a ValueError.
    """

    def coordinates(self, size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return which coordinates are kept, ascending int64 (k,), and their factors, float64 (k,)."""
        if self.k > size:
            raise ValueError(
                f"a mask of {self.k} coordinates needs vectors at least as long, got {size}; "
                "use a smaller dimension"
            )
        edges = torch.arange(self.k + 1, device=device) * size // self.k
        words = random_words(self.key("mask"), torch.arange(self.k, device=device), 1)
        return edges[:-1] + random_below(words[:, 0], edges.diff()), edges.diff().double().sqrt()

    def images(self, gradients: Gradients) -> Tensor:
        """Return the entries that are kept, (n, k)."""
        kept, factors = self.coordinates(gradients.dimension, gradients.device)
        return gradients.entries(kept) * factors.to(gradients.dtype)

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the columns of P at index (...), (..., k), in float64."""
        kept, factors = self.coordinates(size, index.device)
        return (index[..., None] == kept) * factors


@dataclass(frozen=True)
class GraSS(Projection):
    """Keep blowup · k random coordinates, then bring them to k by a sparse projection.

    P = SparseJL · RandomMask. Cost: n · blowup · k, whatever the number p of parameters. Vectors
    of at most blowup · k coordinates are all kept.

    Args:
        blowup: coordinates kept for each output.
        nonzeros: outputs that a coordinate is added to.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.
    """

    blowup: int = 4
    nonzeros: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("the projection's blowup", self.blowup)
        _ = self.sparse  # checks the non-zeros

    @property
    def sparse(self) -> SparseJL:
        """What brings the coordinates that are kept to k."""
        return SparseJL(self.dimension, self.seed, self.checkpoint, self.nonzeros)

    def mask(self, size: int) -> RandomMask | None:
        """Return the mask of vectors of a length; None: all coordinates are kept."""
        return fitted(RandomMask(self.blowup * self.k, self.seed, self.checkpoint), size)

    def images(self, gradients: Gradients) -> Tensor:
        """Return P∇f_i, (n, k), from the entries that the mask keeps, and no others."""
        mask = self.mask(gradients.dimension)
        return self.sparse.images(gradients if mask is None else mask.of(gradients))

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the columns of P at index (...), (..., k), in float64."""
        mask, sparse = self.mask(size), self.sparse
        return sparse.units(index, size) if mask is None else sparse(mask.units(index, size))


@dataclass(frozen=True)
class FactGraSS(LayerwiseProjection):
    """Mask both sides of each layer, then bring their product to k dimensions.

    P_l ∇f_i = SparseJL( Σ_t (M_out e_it)(M_in [a_it; 1])ᵀ ), with masks that leave blowup · k
    entries in a nearly square part of the layer, or all of a side that is shorter. Each layer has
    min(k, entries) dimensions; the rest of the parameters is one block projected by GraSS.
    Cost: n T · blowup · k per layer, whatever its size.

    Args:
        dimension: k of each layer.
        blowup: entries kept for each dimension.
        nonzeros: outputs that an entry is added to.

    Reference:
        Hu et al., GraSS, NeurIPS 2025, as for `GraSS`.
    """

    dimension: int
    blowup: int = 4
    nonzeros: int = 1

    def __post_init__(self) -> None:
        check_positive("the projection's seed", self.seed, allow_zero=True)
        self.of_rest()  # checks all others

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

    def of_layer(self, name: str, term: Term, matrix: Matrix) -> Tensor:
        """Return the masked and projected gradients of one layer, (n, k_l)."""
        kept = two_sided(term, matrix, *self.sides(name, matrix))
        seed = self.seed_of(name, "whole")
        sparse = SparseJL(self.dimension, seed, self.checkpoint, self.nonzeros)
        return sparse(kept) if fitted(sparse, kept.shape[1]) else kept

    def of_rest(self) -> Projection:
        """Return the projection of the parameters without a matrix."""
        seed = self.seed_of("", "rest")
        return GraSS(self.dimension, seed, self.checkpoint, self.blowup, self.nonzeros)
