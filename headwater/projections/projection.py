"""What every projection can do.

The random numbers are hashes of the seed, the checkpoint, the coordinate and the output: the same map
on every device, for every block of samples and coordinates, and any part of it drawn on its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import Gradients
from headwater.hashing import stream_key
from headwater.memory import row_blocks

Dimension = int | Literal["auto"]
"""k; "auto": chosen by who projects, from the effective dimension of the curvature."""
Add = Callable[[Tensor, Tensor], None]
"""Adds to (n, k) what columns (n, t) of the vectors contribute."""


@dataclass(frozen=True)
class GradientProjection(ABC):
    """Map gradients from p to k dimensions so that inner products are kept: E⟨Px, Py⟩ = ⟨x, y⟩.

    It is a dataclass with a field `checkpoint`: every checkpoint has a map of its own.
    """

    def for_checkpoint(self, checkpoint: int) -> Self:
        """Return the projection of another checkpoint."""
        return replace(self, checkpoint=checkpoint)  # type: ignore[call-arg]

    @abstractmethod
    def of(self, gradients: Gradients) -> Gradients:
        """Return P∇f_i with the values of f, whatever form the gradients are kept in."""


@dataclass(frozen=True)
class Projection(GradientProjection):
    """Project vectors, whatever the layers that their coordinates belong to.

    Args:
        dimension: k; "auto" for `InfluenceFunction`, which chooses it from the training data.
        seed: what the map is drawn from.
        checkpoint: every checkpoint has a map of its own.
    """

    dimension: Dimension
    seed: int = 0
    checkpoint: int = 0

    def __post_init__(self) -> None:
        if self.dimension != "auto":
            check_positive("the projection's dimension", self.dimension)
        check_positive("the projection's seed", self.seed, allow_zero=True)

    @property
    def k(self) -> int:
        """The dimension as a number; a ValueError if it has not been chosen."""
        if self.dimension == "auto":
            raise ValueError(
                "a projection must have its dimension as a number to project, got 'auto'"
            )
        return self.dimension

    @abstractmethod
    def images(self, gradients: Gradients) -> Tensor:
        """Return P∇f_i, (n, k), without forming more of the gradients than a block."""

    @abstractmethod
    def units(self, index: Tensor, size: int) -> Tensor:
        """Return columns of P for vectors of length `size`: those at index (...), (..., k) in float64."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return P x for vectors x (..., p), shape (..., k)."""
        images = self.images(Gradients.of_vectors(x.reshape(-1, x.shape[-1])))
        return images.view(*x.shape[:-1], self.k)

    def of(self, gradients: Gradients) -> Gradients:
        """Return P∇f_i with the values of f, whatever form the gradients are kept in."""
        return Gradients.of_vectors(self.images(gradients), gradients.values)

    def key(self, kind: str) -> int:
        """Return the key of the random numbers of one kind."""
        return stream_key(kind, self.seed, self.checkpoint)


@dataclass(frozen=True)
class TiledProjection(Projection):
    """P x = scale · Σ (what each tile of coordinates adds): drawn tile by tile, never held as a whole."""

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
        blocks = row_blocks(n, self.copies * width, device)
        parts = [(out[rows], gradients[rows]) for rows in blocks]
        for start in range(0, p, width):
            stop = min(p, start + width)
            add = self.tile(torch.arange(start, stop, device=device), gradients.dtype)
            for image, part in parts:
                add(image, part.columns(start, stop))
        return out.mul_(self.scale)


T = TypeVar("T", bound=Projection)


def fitted(projection: T, size: int) -> T | None:
    """Return a projection; None, the identity, for vectors that are no longer than its results."""
    return projection if size > projection.k else None
