"""What every curvature operator can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from torch import Tensor

__all__ = ["EIGENBASIS", "MEAN_OVER_SAMPLES", "ROWS", "ROW_PER_SAMPLE", "LinearOperator"]

# What an operator may offer beyond products, and a solver may ask for.
MEAN_OVER_SAMPLES = "a mean over samples"
"""C = (1/n) Σ_i C_i, and the mean over some of the samples is an operator too: a `SampleOperator`."""
ROWS = "rows"
"""C = RᵀR/n with few rows, the gradients of the training samples among them: a `RowOperator`."""
ROW_PER_SAMPLE = "one row a sample"
"""The rows of C are the gradients of the training samples, scaled, and no others."""
EIGENBASIS = "an eigenbasis of its own"
"""C = Q diag(Λ) Qᵀ, made of the eigenbases of each layer: a `KroneckerOperator`."""


class LinearOperator(ABC):
    """A symmetric p × p matrix C that is known by its products.

    ``C @ v`` takes a vector (p,) or columns (p, m); `apply` takes one vector a row, (m, p), the
    layout in which gradients come.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """The number p of parameters."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the products."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the products are computed."""

    @abstractmethod
    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v of rows (m, p), shape (m, p)."""

    @property
    def shape(self) -> tuple[int, int]:
        """(p, p)."""
        return self.size, self.size

    def __matmul__(self, columns: Tensor) -> Tensor:
        """Return C v for a vector (p,) or for each column of (p, m).

        Raises:
            ValueError: if the first dimension is not p.
        """
        if columns.ndim not in (1, 2) or columns.shape[0] != self.size:
            raise ValueError(
                f"the right side of C @ v must have shape ({self.size},) or ({self.size}, m), "
                f"got {tuple(columns.shape)}"
            )
        if columns.ndim == 1:
            return self.apply(columns.unsqueeze(0))[0]
        return self.apply(columns.T).T

    def dense(self, rows: int = 1024) -> Tensor:
        """Return the matrix, (p, p), from products with the identity, `rows` at a time."""
        matrix = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for i in range(0, self.size, rows):
            count = min(rows, self.size - i)
            eye = torch.zeros(count, self.size, dtype=self.dtype, device=self.device)
            eye[torch.arange(count), torch.arange(i, i + count)] = 1.0
            matrix[i : i + count] = self.apply(eye)
        return matrix

    def to_scipy(self) -> ScipyOperator:
        """Return the same operator for SciPy's solvers (NumPy in, NumPy out)."""

        def product(columns: object) -> object:
            # A copy: SciPy also passes arrays that are read-only or run backwards.
            tensor = torch.from_numpy(np.array(columns)).to(self.device, self.dtype)
            return (self @ tensor.reshape(self.size, -1)).cpu().numpy()

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        return ScipyOperator(self.shape, matvec=product, matmat=product, dtype=dtype)
