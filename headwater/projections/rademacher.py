"""Random signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.projections.tiles import RandomMatrix

__all__ = ["Rademacher"]

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
_SIGNS = _BITS.astype(np.float32) * 2.0 - 1.0
"""The eight signs of every byte: a look-up takes a third of the time of unpacking."""


@dataclass(frozen=True)
class Rademacher(RandomMatrix):
    """Entries ±1/√k with equal probability.

    Reference:
        Achlioptas, Database-friendly random projections, JCSS 2003.

    Example:
        >>> import torch
        >>> Rademacher(dimension=4)(torch.ones(2, 10)).shape
        torch.Size([2, 4])
    """

    def _draw(self, rng: np.random.Generator, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        count = rows * self.dimension
        drawn = np.frombuffer(rng.bytes(-(-count // 8)), dtype=np.uint8)
        return _SIGNS.take(drawn, axis=0).reshape(-1)[:count].reshape(rows, self.dimension)
