"""Curvature made of one row a sample: the empirical Fisher and rank-one Gauss-Newton matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.curvature.operator import LinearOperator
from headwater.curvature.samples import SampleOperator
from headwater.gradients import DenseGradients, Gradients

__all__ = ["RowOperator", "rows_of"]


class RowOperator(SampleOperator):
    """C = (1/n) Σ_i ρ_i² g_i g_iᵀ, from gradients g_i in any representation.

    Its Gram matrix K_ij = ρ_i ρ_j ⟨g_i, g_j⟩ (n × n) has the same non-zero eigenvalues as n C and
    is made from factors, without ever forming a gradient.

    Args:
        gradients: g, n samples.
        scale: ρ, (n,).

    Example:
        >>> C = RowOperator(DenseGradients(torch.eye(2)), torch.tensor([1.0, 2.0]))
        >>> (C @ torch.ones(2)).tolist()
        [0.5, 2.0]
    """

    def __init__(self, gradients: Gradients, scale: Tensor) -> None:
        if tuple(scale.shape) != (len(gradients),):
            raise ValueError(f"scale must have shape ({len(gradients)},), got {tuple(scale.shape)}")
        self.gradients, self.scale = gradients, scale.to(torch.float64)
        self.n = len(gradients)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.gradients.dimension

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64, that of the gradients."""
        tensors = self.gradients.tensors()
        return next(t.dtype for name, t in tensors.items() if name != "values")

    @property
    def device(self) -> torch.device:
        """Where the gradients are."""
        return self.gradients.values.device

    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v, (m, p)."""
        total = torch.zeros_like(rows)
        step = max(1, 2**25 // self.size)
        for i in range(0, self.n, step):
            g = self.gradients[i : i + step].dense()
            weights = self.scale[i : i + step].square().to(g.dtype)
            total += ((rows @ g.T) * weights) @ g
        return total.div_(self.n)

    def on(self, samples: Tensor) -> RowOperator:
        """Return the mean over some of the rows."""
        samples = samples.to(self.device)
        return RowOperator(self.gradients[samples], self.scale[samples])

    def gram(self) -> Tensor:
        """Return K, (n, n), in float64."""
        gram = self.gradients.inner(self.gradients).to(torch.float64)
        gram *= self.scale[:, None]
        gram *= self.scale
        return gram

    def times(self, test: Gradients) -> Tensor:
        """Return ρ_i ⟨g_i, f_j⟩, (n, m), in float64."""
        return self.gradients.inner(test).to(torch.float64) * self.scale[:, None]

    def vectors(self, coefficients: Tensor) -> DenseGradients:
        """Return Σ_i ρ_i c_ij g_i as vectors, one a column of coefficients (n, m)."""
        weights = coefficients * self.scale[:, None]
        total = torch.zeros(weights.shape[1], self.size, dtype=self.dtype, device=self.device)
        step = max(1, 2**25 // self.size)
        for i in range(0, self.n, step):
            block = weights[i : i + step].to(self.dtype)
            total += block.T @ self.gradients[i : i + step].dense()
        return DenseGradients(total)


def rows_of(operator: LinearOperator, solver: str) -> RowOperator:
    """Return the operator if it is made of rows.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(operator, RowOperator):
        raise TypeError(
            f"{solver} needs an operator made of rows (RowOperator), got {type(operator).__name__}; "
            "use Explicit or ConjugateGradient for it"
        )
    return operator
