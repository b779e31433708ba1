"""GraSS: a random mask, then a sparse projection of what is left."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import Gradients
from headwater.projections.mask import RandomMask
from headwater.projections.projection import Projection, fitted
from headwater.projections.sparse import SparseJL

__all__ = ["GraSS"]


@dataclass(frozen=True)
class GraSS(Projection):
    """Keep blowup · k random coordinates, then bring them to k by a sparse projection.

    P = SparseJL · RandomMask. Cost: n · blowup · k, whatever the number p of parameters. Vectors
    of at most blowup · k coordinates are all kept.

    Args:
        dimension: k.
        seed: what mask and projection are drawn from.
        checkpoint: every checkpoint has a map of its own.
        blowup: coordinates kept for each output.
        nonzeros: outputs that a coordinate is added to.

    Raises:
        ValueError: if the blowup is below 1.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.

    Example:
        >>> import torch
        >>> GraSS(dimension=4, blowup=2)(torch.ones(3, 100)).shape
        torch.Size([3, 4])
    """

    blowup: int = 4
    nonzeros: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        check_positive("the projection's blowup", self.blowup)
        _ = self.sparse  # checks the non-zeros

    @property
    def sparse(self) -> SparseJL:
        """What brings the coordinates that are kept to k."""
        return SparseJL(self.dimension, self.seed, self.checkpoint, self.nonzeros)

    def mask(self, size: int) -> RandomMask | None:
        """Return the mask of vectors of a length; None: all coordinates are kept."""
        kept = RandomMask(self.blowup * self.k, self.seed, self.checkpoint)
        return fitted(kept, size)

    def images(self, gradients: Gradients) -> Tensor:
        """Return P∇f_i, (n, k), from the entries that the mask keeps, and no others."""
        mask = self.mask(gradients.dimension)
        return self.sparse.images(gradients if mask is None else mask.of(gradients))

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the columns of P at index (...), (..., k), in float64."""
        mask = self.mask(size)
        if mask is None:
            return self.sparse.units(index, size)
        return self.sparse(mask.units(index, size))
