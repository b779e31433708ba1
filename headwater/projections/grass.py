"""GraSS: a random mask, then a sparse projection of what is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from headwater.checks import check_positive
from headwater.projections.mask import RandomMask
from headwater.projections.projection import Projection
from headwater.projections.sparse import SparseJL

if TYPE_CHECKING:
    from headwater.gradients import FactoredGradients

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
        _ = self._sparse  # checks the non-zeros

    @property
    def _sparse(self) -> SparseJL:
        return SparseJL(self.dimension, self.seed, self.checkpoint, self.nonzeros)

    def mask(self, size: int) -> RandomMask:
        """Return the mask of vectors of a length."""
        kept = min(size, self.blowup * self.dimension)
        return RandomMask(kept, self.seed, self.checkpoint)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return P x for each row x of vectors (n, p), shape (n, k)."""
        return self._sparse(self.mask(vectors.shape[1])(vectors))

    def of_factors(self, gradients: FactoredGradients) -> list[Tensor]:
        """Return [P∇f_i (n, k)] from the entries that the mask keeps, and no others."""
        return [self._sparse(kept) for kept in self.mask(gradients.dimension).of_factors(gradients)]
