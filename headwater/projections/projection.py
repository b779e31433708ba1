"""A random projection streamed in tiles of fixed rows.

Tile t of checkpoint c is drawn by NumPy from the seed sequence (seed, c, t) on the CPU: the same
matrix on every device, for every chunk of samples, and for every checkpoint another one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from headwater.checks import check_positive

__all__ = ["Projection"]

TILE = 4096
"""Coordinates of the gradient that one tile covers. Part of the definition: never change it."""


@dataclass(frozen=True)
class Projection(ABC):
    """Project vectors from p to k dimensions so that inner products are kept in expectation.

    E⟨Px, Py⟩ = ⟨x, y⟩, with entries of mean 0 and variance 1/k.

    Args:
        dimension: k.
        seed: what the matrix is drawn from.
        checkpoint: every checkpoint has a matrix of its own.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    dimension: int
    seed: int = 0
    checkpoint: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("the projection's dimension", self.dimension)

    @abstractmethod
    def _draw(self, rng: np.random.Generator, rows: int) -> Tensor:
        """Return entries of unit variance, (rows, k); the first rows never depend on `rows`."""

    def for_checkpoint(self, checkpoint: int) -> Self:
        """Return the projection of another checkpoint."""
        return replace(self, checkpoint=checkpoint)

    def tile(self, index: int, rows: int, like: Tensor) -> Tensor:
        """Return rows ``index·TILE …`` of Pᵀ, (rows, k), with the dtype and device of a tensor."""
        entropy = np.random.SeedSequence([self.seed, self.checkpoint, index])
        drawn = self._draw(np.random.Generator(np.random.PCG64(entropy)), rows)
        return drawn.to(device=like.device, dtype=like.dtype)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return P x for each row x of vectors (n, p), shape (n, k)."""
        out = vectors.new_zeros(len(vectors), self.dimension)
        for index, columns in enumerate(torch.split(vectors, TILE, dim=1)):
            out.addmm_(columns, self.tile(index, columns.shape[1], vectors))
        return out.mul_(self.dimension**-0.5)
