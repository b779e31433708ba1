"""Random coordinates of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.gradients import Gradients
from headwater.hashing import random_below, random_words
from headwater.projections.projection import Projection

__all__ = ["RandomMask"]


@dataclass(frozen=True)
class RandomMask(Projection):
    """Keep one random coordinate of each of k parts of the gradient, times √(size of the part).

    The parts are as equal as whole numbers can be, so the factors are √(p/k) or next to it, and inner
    products are kept on average exactly. Being stratified, the mask has of every layer its share.
    Of gradients only the entries that are kept are ever computed: n k in place of n p.

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

    def coordinates(self, size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return the coordinates that are kept of vectors of a length, rising, and their factors.

        Returns:
            int64 (k,) and float64 (k,).
        """
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
