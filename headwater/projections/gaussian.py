"""Gaussian entries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headwater.projections.projection import Projection

__all__ = ["Gaussian"]


class Gaussian(Projection):
    """Entries N(0, 1/k).

    Reference:
        Johnson and Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984.

    Example:
        >>> Gaussian(dimension=4)(torch.ones(2, 10)).shape
        torch.Size([2, 4])
    """

    def _draw(self, rng: np.random.Generator, rows: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((rows, self.dimension), dtype=np.float32))
