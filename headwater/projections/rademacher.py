"""Random signs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headwater.projections.projection import Projection

__all__ = ["Rademacher"]


class Rademacher(Projection):
    """Entries ±1/√k with equal probability.

    Reference:
        Achlioptas, Database-friendly random projections, JCSS 2003.

    Example:
        >>> Rademacher(dimension=4)(torch.ones(2, 10)).shape
        torch.Size([2, 4])
    """

    def _draw(self, rng: np.random.Generator, rows: int) -> Tensor:
        count = rows * self.dimension
        packed = np.frombuffer(rng.bytes(-(-count // 8)), dtype=np.uint8)
        signs = np.unpackbits(packed, count=count).astype(np.float32)
        signs *= 2.0
        signs -= 1.0
        return torch.from_numpy(signs.reshape(rows, self.dimension))
