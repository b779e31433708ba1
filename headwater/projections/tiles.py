"""Linear maps that are streamed in tiles of fixed rows, never held as a whole."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from headwater.projections.projection import Projection

if TYPE_CHECKING:
    from headwater.gradients import FactoredGradients

__all__ = ["TILE", "RandomMatrix", "TiledProjection"]

TILE = 4096
"""Coordinates of the gradient that one tile covers. Part of the definition: never change it."""


@dataclass(frozen=True)
class TiledProjection(Projection):
    """P x = scale · Σ_t (what tile t of x adds), tile t drawn from the seed sequence (seed, c, t)."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """The factor of the sum over all tiles."""

    @abstractmethod
    def add_tile(self, out: Tensor, columns: Tensor, index: int) -> None:
        """Add to out (n, k) what the columns ``index·TILE …`` of the vectors contribute."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return P x for each row x of vectors (n, p), shape (n, k)."""
        out = vectors.new_zeros(len(vectors), self.dimension)
        for index, columns in enumerate(torch.split(vectors, TILE, dim=1)):
            self.add_tile(out, columns, index)
        return out.mul_(self.scale)

    def of_factors(self, gradients: FactoredGradients) -> list[Tensor]:
        """Return [P∇f_i (n, k)], a tile of columns of all samples at a time: each is drawn once."""
        out = gradients.rest.new_zeros(len(gradients), self.dimension)
        for index, start in enumerate(range(0, gradients.dimension, TILE)):
            self.add_tile(out, gradients.columns(start, start + TILE), index)
        return [out.mul_(self.scale)]


@dataclass(frozen=True)
class RandomMatrix(TiledProjection):
    """Entries of mean 0 and variance 1/k."""

    @abstractmethod
    def _draw(self, rng: np.random.Generator, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return entries of unit variance, (rows, k); the first rows never depend on `rows`."""

    @property
    def scale(self) -> float:
        """1/√k."""
        return float(self.dimension**-0.5)

    def tile(self, index: int, rows: int, like: Tensor) -> Tensor:
        """Return rows ``index·TILE …`` of Pᵀ, (rows, k), with the dtype and device of a tensor."""
        drawn = torch.from_numpy(self._draw(self.generator(index), rows))
        return drawn.to(device=like.device, dtype=like.dtype)

    def add_tile(self, out: Tensor, columns: Tensor, index: int) -> None:
        """Add the product with one tile; columns that are 0 for all samples are left out of it."""
        tile = self.tile(index, columns.shape[1], columns)
        alive = columns.count_nonzero(0).nonzero()[:, 0]  # inputs that are always 0 are common
        if len(alive) <= 0.9 * columns.shape[1]:
            columns, tile = columns[:, alive], tile[alive]
        out.addmm_(columns, tile)
