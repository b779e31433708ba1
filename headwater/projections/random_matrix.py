"""Projections whose entries are independent: signs, or normal numbers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from headwater.hashing import random_words
from headwater.memory import rows_per_block
from headwater.projections.projection import Add, TiledProjection


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


@dataclass(frozen=True)
class Rademacher(RandomMatrix):
    """Entries ±1/√k with equal probability: one random word holds the signs of 32 of them.

    Reference:
        Achlioptas, Database-friendly random projections, JCSS 2003.
    """

    def entries(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return signs (..., k); that of output b is bit b mod 32 of word ⌊b/32⌋."""
        words = random_words(self.key("signs"), index, -(-self.k // 32))
        drawn = _signs(index.device, dtype).index_select(0, words.view(torch.uint8).flatten().int())
        return drawn.view(*index.shape, -1)[..., : self.k]


@dataclass(frozen=True)
class Gaussian(RandomMatrix):
    """Entries N(0, 1/k), each one of 2^16 quantiles that are equally likely, in float32.

    A table of quantiles gives the same bits on every device, which logarithms and cosines do not,
    at a fifth of their time. The variance is 1/k exactly; no entry is above 4.2 of its roots.

    Reference:
        Johnson and Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984.
    """

    def entries(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return normal numbers (..., k); output b has the half b mod 2 of word ⌊b/2⌋."""
        words = random_words(self.key("normal"), index, -(-self.k // 2))
        halves = words.view(torch.int16).flatten().int().bitwise_and_(0xFFFF)
        drawn = _quantiles(index.device, dtype).index_select(0, halves)
        return drawn.view(*index.shape, -1)[..., : self.k]


@cache
def _signs(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the signs of every byte's bits, the lowest first: a look-up is cheaper than shifts."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return (2 * bits - 1).to(device, dtype)


@cache
def _quantiles(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return Φ^-1((h + ½) / 2^16) for h = 0 … 2^16 - 1, at a variance of 1."""
    quantiles = torch.special.ndtri((torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16)
    quantiles /= quantiles.square().mean().sqrt()
    return quantiles.float().to(device, dtype)
