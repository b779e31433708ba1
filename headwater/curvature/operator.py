"""What every curvature operator can do, and what some can do beyond that."""

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from headwater.memory import row_blocks

K = TypeVar("K", bound="LinearOperator")
# What an operator may offer beyond products, and a solver may ask for.
MEAN_OVER_SAMPLES = "a mean over samples"
"""C = (1/n) Σ_i C_i, and the mean over some of the samples is an operator too: a `SampleOperator`."""
ROWS = "rows"
"""C = RᵀR/n with few rows, the gradients of the training samples among them: a `RowOperator`."""
ROW_PER_SAMPLE = "one row per sample"
"""The rows of C are the gradients of the training samples, scaled, and no others."""
EIGENBASIS = "an eigenbasis of its own"
"""C = Q diag(Λ) Qᵀ, made of the eigenbases of each group: a `KroneckerOperator`."""


class LinearOperator(ABC):
    """A symmetric p × p matrix C that is known by its products.

    ``C @ v`` takes a vector (p,) or columns (p, m); `apply` takes one vector per row, (m, p), the
    layout in which gradients come.
    """

    size: int
    """The number p of parameters."""
    dtype: torch.dtype
    """The dtype of the products."""
    device: torch.device
    """Where the products are computed."""

    @abstractmethod
    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v of rows (m, p), shape (m, p)."""

    @property
    def shape(self) -> tuple[int, int]:
        """(p, p)."""
        return self.size, self.size

    def __matmul__(self, columns: Tensor) -> Tensor:
        """Return C v for a vector (p,) or for each column of (p, m); ValueError for another shape."""
        if columns.ndim not in (1, 2) or columns.shape[0] != self.size:
            raise ValueError(
                f"the right side of C @ v must have shape ({self.size},) or ({self.size}, m), "
                f"got {tuple(columns.shape)}"
            )
        if columns.ndim == 1:
            return self.apply(columns.unsqueeze(0))[0]
        return self.apply(columns.T).T

    def trace(self, probes: int = 8) -> float:
        """Return tr C: exactly where that is cheap, else the mean of vᵀ C v over vectors of signs v.

        The standard deviation of the mean is at most √(2/probes) ‖C‖_F; the signs are the same every
        time.

        Reference:
            Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989.
        """
        generator = torch.Generator().manual_seed(0)
        total = 0.0
        for rows in row_blocks(probes, self.size, self.device):
            drawn = torch.randint(2, (rows.stop - rows.start, self.size), generator=generator)
            signs = (2 * drawn - 1).to(self.device, self.dtype)
            total += float((signs * self.apply(signs)).sum(dtype=torch.float64))
        return total / probes

    def dense(self, rows: int = 1024, block: slice = slice(None)) -> Tensor:
        """Return C (p, p), or a diagonal block, from products with the identity, `rows` at a time."""
        first, last, _ = block.indices(self.size)
        matrix = torch.empty(last - first, last - first, dtype=self.dtype, device=self.device)
        for part in matrix.split(rows):
            eye = matrix.new_zeros(len(part), self.size)
            eye[:, first : first + len(part)].fill_diagonal_(1.0)
            part.copy_(self.apply(eye)[:, block])
            first += len(part)
        return matrix


class SampleOperator(LinearOperator):
    """C = (1/n) Σ_i C_i, one term per training sample."""

    n: int
    """The number of training samples."""

    @abstractmethod
    def on(self, samples: Tensor) -> LinearOperator:
        """Return (1/b) Σ_{i ∈ samples} C_i for b sample numbers in ascending order."""


def of_kind(operator: LinearOperator, kind: type[K], user: str) -> K:
    """Return the operator, or raise TypeError if it is not of the kind that its user needs."""
    if not isinstance(operator, kind):
        raise TypeError(
            f"{user} needs an operator that is a {kind.__name__}, got {type(operator).__name__}; "
            "use Explicit or ConjugateGradient for it"
        )
    return operator
