"""Gaussian entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.projections.tiles import RandomMatrix

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(RandomMatrix):
    """Entries N(0, 1/k).

    Reference:
        Johnson and Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984.

    Example:
        >>> import torch
        >>> Gaussian(dimension=4)(torch.ones(2, 10)).shape
        torch.Size([2, 4])
    """

    def _draw(self, rng: np.random.Generator, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return rng.standard_normal((rows, self.dimension), dtype=np.float32)
