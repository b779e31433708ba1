"""DataInf: the mean of the samples' own inverses in place of the inverse of their mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import ROW_PER_SAMPLE, LinearOperator, RowOperator
from headwater.curvature.rows import rows_of
from headwater.gradients import DenseGradients, Gradients
from headwater.solvers.blocks import row_blocks
from headwater.solvers.solver import Solution, Solver, State, direct_solution

__all__ = ["DataInf"]

BLOCK = 2**24
"""Numbers of a layer's Gram matrix in memory at a time."""


@dataclass(frozen=True)
class DataInf(Solver):
    """Replace (C + λI)^-1 by the mean over samples of (r_i r_iᵀ + λI)^-1, layer by layer.

    x_l = (1/λ) (b_l - (1/n) Σ_i d_il ⟨r_il, b_l⟩ r_il),  d_il = 1 / (λ + ‖r_il‖²),  r_i = ρ_i g_i.

    Products with the training gradients themselves need each layer's Gram matrix only, a block of rows
    at a time: about n² (m + d_in + d_out) operations a layer for n training and m test samples, and no
    gradient is formed where a layer has more than n/2 parameters. Gradients that are kept as vectors
    have no layers and count as one.

    Args:
        damping: λ > 0, absolute.

    Raises:
        ValueError: if the damping is not positive.

    Reference:
        Kwon et al., DataInf: Efficiently Estimating Data Influence in LoRA-tuned LLMs and Diffusion
        Models, ICLR 2024.

    Example:
        >>> C = RowOperator(DenseGradients(torch.eye(2)), torch.ones(2))
        >>> solver = DataInf(damping=0.5)  # (1/λ)(1 - (1/n) / (λ + 1))
        >>> [round(float(x), 3) for x in solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value[0]]
        [1.333, 1.333]
    """

    damping: float
    asks: ClassVar[frozenset[str]] = frozenset({ROW_PER_SAMPLE})

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("damping", self.damping)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"squared_norms": ‖r_il‖² (layers, n)} in float64; they do not depend on the damping.

        Raises:
            TypeError: if the operator has no rows.
        """
        rows = rows_of(operator, "DataInf")
        norms = [part.squared_norms().to(torch.float64) for part in rows.gradients.by_layer()]
        return {"squared_norms": torch.stack(norms) * rows.scale.square()}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is that of C + λI, which it does not make small."""
        x = self.values(operator, state, rhs)
        return direct_solution(operator, self.damping, x, rhs)

    def values(self, operator: LinearOperator, state: State, rhs: Tensor) -> Tensor:
        """Return x for each row of rhs, (m, p)."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        rows, x = rows_of(operator, "DataInf"), rhs.clone()
        columns = rows.gradients.layer_columns()
        tests = DenseGradients(rhs)
        for part, weights, where in zip(_layers(rows), self._weights(state), columns, strict=True):
            coefficients = part.times(tests.columns(where)) * weights[:, None]
            correction, start = part.vectors(coefficients).vectors, 0
            for columns_of in where:
                width = columns_of.stop - columns_of.start
                x[:, columns_of] -= correction[:, start : start + width]
                start += width
        return x.div_(self.damping)

    def precondition(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return {"products": ⟨g_k, x_j⟩ (n, m)} with all training gradients, in float64."""
        rows = rows_of(operator, "DataInf")
        products = rows.gradients.inner(test).to(torch.float64)
        split = _split(test, rows.gradients)
        for part, weights, own in zip(_layers(rows), self._weights(state), split, strict=True):
            products -= _among_rows(part, part.times(own) * weights[:, None])
        return {"products": products.div_(self.damping)}

    def inner(self, train: Gradients, rows: slice, scale: Tensor, solved: State) -> Tensor:
        """Return ⟨g_i, x_j⟩, (b, m)."""
        return solved["products"][rows]

    def self_inner(self, operator: LinearOperator, state: State, train: Gradients) -> Tensor:
        """Return (1/λ) (‖g_i‖² - (1/n) Σ_lk d_kl ⟨r_kl, g_il⟩²), (n,)."""
        rows = rows_of(operator, "DataInf")
        total = train.squared_norms().to(torch.float64)
        split = _split(train, rows.gradients)
        for part, weights, own in zip(_layers(rows), self._weights(state), split, strict=True):
            for block in row_blocks(len(train), part.n, BLOCK):
                products = part.times(own[block])
                total[block] -= (products.square_() * weights[:, None]).sum(0)
        return total.div_(self.damping)

    def squared_solution_norms(
        self, operator: LinearOperator, state: State, train: Gradients
    ) -> Tensor:
        """Return ‖x‖² of the solutions for all training gradients, (n,), from Gram matrices."""
        rows = rows_of(operator, "DataInf")
        total = train.squared_norms().to(torch.float64)
        split = _split(train, rows.gradients)
        for part, weights, own in zip(_layers(rows), self._weights(state), split, strict=True):
            for block in row_blocks(len(train), part.n, BLOCK):
                products = part.times(own[block])
                c = products * weights[:, None]  # ‖g - Rᵀc‖² = ‖g‖² - 2⟨c, Rg⟩ + ⟨c, RRᵀc⟩
                again = _among_rows(part, c) * part.scale[:, None]
                total[block] += (c * (again - 2 * products)).sum(0)
        return total.div_(self.damping**2)

    def _weights(self, state: State) -> Iterator[Tensor]:
        """Yield d_il / n, (n,), for one layer after the other."""
        for norms in state["squared_norms"]:
            yield 1.0 / (len(norms) * (self.damping + norms))


def _layers(rows: RowOperator) -> Iterator[RowOperator]:
    for part in rows.gradients.by_layer():
        yield RowOperator(part, rows.scale)


def _split(gradients: Gradients, like: Gradients) -> list[Gradients]:
    """Return the layers of gradients as those of the training gradients."""
    if isinstance(gradients, DenseGradients):
        return [gradients.columns(where) for where in like.layer_columns()]
    return gradients.by_layer()


def _among_rows(part: RowOperator, coefficients: Tensor) -> Tensor:
    """Return ⟨g_k, Σ_i ρ_i c_ij g_i⟩, (n, m): from the Gram matrix, or from vectors if p < n/2."""
    if part.n > 2 * part.size:
        return part.gradients.inner(part.vectors(coefficients)).to(torch.float64)
    weighted = (coefficients * part.scale[:, None]).to(part.dtype)
    out = coefficients.new_empty(part.n, coefficients.shape[1])
    for block in row_blocks(part.n, part.n, BLOCK):
        out[block] = part.gradients[block].inner(part.gradients) @ weighted
    return out
