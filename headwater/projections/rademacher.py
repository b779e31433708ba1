"""Random signs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from headwater.hashing import random_words
from headwater.projections.tiles import RandomMatrix

__all__ = ["Rademacher"]


@dataclass(frozen=True)
class Rademacher(RandomMatrix):
    """Entries ±1/√k with equal probability: one random word holds the signs of 32 of them.

    Reference:
        Achlioptas, Database-friendly random projections, JCSS 2003.

    Example:
        >>> Rademacher(dimension=4)(torch.ones(2, 10)).shape
        torch.Size([2, 4])
    """

    def entries(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return signs (..., k); that of output b is bit b mod 32 of word ⌊b/32⌋."""
        words = random_words(self.key("signs"), index, -(-self.k // 32))
        drawn = _signs(index.device, dtype).index_select(0, words.view(torch.uint8).flatten().int())
        return drawn.view(*index.shape, -1)[..., : self.k]


@cache
def _signs(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the signs of every byte's bits, the lowest first: a look-up is cheaper than shifts."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return (2 * bits - 1).to(device, dtype)
