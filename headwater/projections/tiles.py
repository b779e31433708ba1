"""Linear maps that are drawn a tile of coordinates at a time, never held as a whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.gradients import Gradients
from headwater.memory import row_blocks, rows_per_block
from headwater.projections.projection import Projection

__all__ = ["Add", "RandomMatrix", "TiledProjection"]

Add = Callable[[Tensor, Tensor], None]
"""Adds to (n, k) what columns (n, t) of the vectors contribute."""


@dataclass(frozen=True)
class TiledProjection(Projection):
    """P x = scale · Σ (what each tile of coordinates adds)."""

    copies: ClassVar[int] = 1
    """Numbers that are in memory at once for a coordinate of a sample."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """The factor of the sum over all tiles."""

    @abstractmethod
    def width(self, device: torch.device) -> int:
        """Return how many coordinates a tile covers; the map does not depend on it."""

    @abstractmethod
    def tile(self, index: Tensor, dtype: torch.dtype) -> Add:
        """Draw the part of the map that belongs to coordinates (t,)."""

    def images(self, gradients: Gradients) -> Tensor:
        """Return P∇f_i, (n, k): each tile is drawn once, for all samples."""
        n, p, device = len(gradients), gradients.dimension, gradients.device
        out = torch.zeros(n, self.k, dtype=gradients.dtype, device=device)
        width = min(p, self.width(device))
        parts = [
            (out[rows], gradients[rows]) for rows in row_blocks(n, self.copies * width, device)
        ]
        for start in range(0, p, width):
            stop = min(p, start + width)
            add = self.tile(torch.arange(start, stop, device=device), gradients.dtype)
            for image, part in parts:
                add(image, part.columns(start, stop))
        return out.mul_(self.scale)


@dataclass(frozen=True)
class RandomMatrix(TiledProjection):
    """Entries of mean 0 and variance 1/k."""

    @abstractmethod
    def entries(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the columns of P at index (...), (..., k), at unit variance."""

    @property
    def scale(self) -> float:
        """1/√k."""
        return float(self.k**-0.5)

    def width(self, device: torch.device) -> int:
        """Return how many columns of P stay in fast memory."""
        return rows_per_block(self.k, device)

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the columns of P at index (...), (..., k), in float64."""
        return self.entries(index, torch.float64).mul_(self.scale)

    def tile(self, index: Tensor, dtype: torch.dtype) -> Add:
        """Return the product with columns of P, but for those that are 0 for all samples."""
        drawn = self.entries(index, dtype)

        def add(out: Tensor, columns: Tensor) -> None:
            alive = columns.count_nonzero(0).nonzero()[:, 0]  # inputs that are always 0 are common
            if len(alive) <= 0.9 * columns.shape[1]:
                out.addmm_(columns[:, alive], drawn[alive])
            else:
                out.addmm_(columns, drawn)

        return add
