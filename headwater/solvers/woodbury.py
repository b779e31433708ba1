"""Exact solution in Gram space: n × n, never p × p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import ROWS, LinearOperator
from headwater.curvature.rows import rows_of
from headwater.gradients import DenseGradients, Gradients
from headwater.memory import check_memory
from headwater.solvers.solver import Solution, Solver, State, direct_solution

__all__ = ["Woodbury"]

CANCELLED = 1e-6
"""Differences from 1 below this have too few digits in float64."""


@dataclass(frozen=True)
class Woodbury(Solver):
    """Solve with C = RᵀR/n through the n × n Gram matrix K = RRᵀ of its rows.

    (C + λI)^-1 b = (b - Rᵀ (K + nλI)^-1 R b) / λ, and for products with the rows themselves
    R (C + λI)^-1 b = n (K + nλI)^-1 R b, which forms no vector of length p at all.
    Cost: one n × n Cholesky factorisation in float64, whatever the number of parameters.

    Args:
        damping: λ > 0, absolute.

    Raises:
        ValueError: if the damping is not positive.

    Reference:
        Woodbury, Inverting Modified Matrices, 1950.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> C = RowOperator(DenseGradients(torch.eye(2)), torch.ones(2))  # I/2
        >>> solver = Woodbury(damping=0.5)
        >>> solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value.tolist()
        [[1.0, 1.0]]
    """

    damping: float
    asks: ClassVar[frozenset[str]] = frozenset({ROWS})

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("damping", self.damping)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"gram": K}, (n, n) in float64; it does not depend on the damping.

        Raises:
            TypeError: if the operator has no rows.
            MemoryError: if the Gram matrix would not fit.
        """
        rows = rows_of(operator, "Woodbury")
        check_memory(
            f"the Gram matrix of {rows.n:,} samples",
            3 * 8 * rows.n**2,
            "use fewer training samples, or a projected store with TRAK",
            rows.device,
        )
        return {"gram": rows.gram()}

    def precondition(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return {"coefficients": (K + nλI)^-1 R f_j}, (n, m) in float64.

        They are R (C + λI)^-1 f_j / n: no vector of length p is formed.
        """
        products = rows_of(operator, "Woodbury").times(test)
        return {"coefficients": torch.cholesky_solve(products, self._factor(state))}

    def _factor(self, state: State) -> Tensor:
        """Return L with L Lᵀ = K + nλI."""
        damped = state["gram"].clone()
        damped.diagonal().add_(len(damped) * self.damping)
        return torch.linalg.cholesky(damped)

    def inner(self, train: Gradients, rows: slice, scale: Tensor, solved: State) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 f_j⟩ = n c_ij / ρ_i, (b, m)."""
        coefficients = solved["coefficients"]
        return coefficients[rows] * (len(coefficients) / scale)[:, None]

    def self_inner(self, operator: LinearOperator, state: State, train: Gradients) -> Tensor:
        """Return n (1 - nλ [(K + nλI)^-1]_ii) / ρ_i² for the first rows, those of train."""
        rows = rows_of(operator, "Woodbury")
        scale = rows.scale[: len(train)]
        inverse = torch.cholesky_inverse(self._factor(state)).diagonal()[: len(train)]
        covered = 1.0 - rows.n * self.damping * inverse
        products = rows.n * covered / scale.square()
        # A sample that is surely right or wrong (ρ ≈ 0): the difference has no digits left.
        lost = (covered < CANCELLED).nonzero()[:, 0]
        if len(lost):
            c = self.precondition(operator, state, train[lost])["coefficients"]
            products[lost] = rows.n * c[lost, torch.arange(len(lost))] / scale[lost]
        return products

    def squared_solution_norms(
        self, operator: LinearOperator, state: State, train: Gradients
    ) -> Tensor:
        """Return ‖(C + λI)^-1 g_i‖² = n² (M_ii - nλ [M²]_ii) / ρ_i², M = (K + nλI)^-1, (n,)."""
        rows = rows_of(operator, "Woodbury")
        inverse = torch.cholesky_inverse(self._factor(state))
        diagonal = inverse.diagonal()[: len(train)]
        left = diagonal - rows.n * self.damping * inverse.square().sum(0)[: len(train)]
        norms = rows.n**2 * left / rows.scale[: len(train)].square()
        # Where the difference has no digits left: x = (g - Rᵀc)/λ with c = M R g, expanded.
        lost = (left < CANCELLED * diagonal).nonzero()[:, 0]
        if len(lost):
            products = rows.times(train[lost])
            c = inverse @ products
            both = (c * (state["gram"] @ c - 2 * products)).sum(0)
            squared = train[lost].squared_norms().to(torch.float64)
            norms[lost] = (squared + both) / self.damping**2
        return norms

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs (m, p)."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        rows = rows_of(operator, "Woodbury")
        c = self.precondition(operator, state, DenseGradients(rhs))["coefficients"]
        x = (rhs - rows.vectors(c).vectors) / self.damping
        return direct_solution(operator, self.damping, x, rhs)
