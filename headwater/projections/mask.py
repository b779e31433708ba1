"""Random coordinates of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headwater.projections.projection import Projection

if TYPE_CHECKING:
    from headwater.gradients import FactoredGradients

__all__ = ["RandomMask"]

_MASK = 1  # the branch of the seed


@dataclass(frozen=True)
class RandomMask(Projection):
    """Keep k of the p coordinates, drawn without replacement, times √(p/k).

    Of factored gradients only the entries that are kept are ever computed: n k in place of n p.

    Args:
        dimension: k, at most p.
        seed: what the coordinates are drawn from.
        checkpoint: every checkpoint keeps others.

    Raises:
        ValueError: if the vectors have fewer than k coordinates.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.

    Example:
        >>> RandomMask(dimension=2)(torch.ones(1, 8)).tolist()
        [[2.0, 2.0]]
    """

    def coordinates(self, size: int) -> Tensor:
        """Return the coordinates that are kept of vectors of a length, in order, (k,)."""
        if self.dimension > size:
            raise ValueError(
                f"a mask of {self.dimension} coordinates needs vectors at least as long, got {size}; "
                "use a smaller dimension"
            )
        drawn = self.generator(0, _MASK).choice(size, self.dimension, replace=False, shuffle=False)
        return torch.from_numpy(drawn).sort().values

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return √(p/k) x at the coordinates that are kept, (n, k)."""
        size = vectors.shape[1]
        kept = vectors[:, self.coordinates(size).to(vectors.device)]
        return kept * (size / self.dimension) ** 0.5

    def of_factors(self, gradients: FactoredGradients) -> list[Tensor]:
        """Return [√(p/k) ∂f_i at the coordinates that are kept (n, k)]."""
        size = gradients.dimension
        kept = gradients.entries(self.coordinates(size).to(gradients.rest.device))
        return [kept * (size / self.dimension) ** 0.5]
