"""Exact solution in Gram space: n × n, never p × p."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_shape
from headwater.curvature.operator import ROWS, LinearOperator, of_kind
from headwater.curvature.row_operator import BlockSource, RowOperator
from headwater.gradients import Gradients
from headwater.memory import Cost, Sizes, check_memory
from headwater.solvers.damping import Damping
from headwater.solvers.solver import DirectSolver, Inverse, State

CANCELLED = 1e-6
"""Differences from 1 below this have too few digits in float64."""


@dataclass(frozen=True)
class Woodbury(DirectSolver):
    """Solve with C = RᵀR/n through the n × n Gram matrix K = RRᵀ of its rows.

    (C + λI)^-1 b = (b - Rᵀ (K + nλI)^-1 R b) / λ, and for products with the rows themselves
    R (C + λI)^-1 b = n (K + nλI)^-1 R b, which forms no vector of length p at all.
    Cost: one n × n Cholesky factorisation in float64, whatever the number of parameters. Memory: three
    such matrices, and two blocks of gradients.

    Reference:
        Woodbury, Inverting Modified Matrices, 1950.
    """

    damping: Damping
    asks = frozenset({ROWS})

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"gram": K}, (n, n) in float64."""
        rows = of_kind(operator, RowOperator, "Woodbury")
        what = f"the Gram matrix of {rows.n:,} samples"
        advice = "use fewer training samples, or project the gradients and use Explicit"
        check_memory(what, 3 * 8 * rows.n**2, advice, rows.device)
        return {"gram": rows.gram()}

    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
        """Return b ↦ (b - Rᵀ (K + nλI)^-1 R b) / λ."""
        rows, factor = of_kind(operator, RowOperator, "Woodbury"), self._factor(state)

        def solved(rhs: Tensor) -> Tensor:
            check_shape("the right-hand sides", rhs, (None, operator.size))
            coefficients = torch.cholesky_solve(rows.times(rows.scheme.split(rhs)), factor)
            return (rhs - rows.vectors(coefficients)).div_(self.shift)

        return solved

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return {"products": ⟨g_i, x_j⟩ = n [(K + nλI)^-1 R f_j]_i / ρ_i}, (n, m) in float64."""
        rows = of_kind(operator, RowOperator, "Woodbury")
        coefficients = torch.cholesky_solve(rows.times(test), self._factor(state))
        factors = rows.n / rows.scale[: rows.samples]
        return {"products": coefficients[: rows.samples] * factors[:, None]}

    def quadratic(
        self, operator: LinearOperator, state: State, source: BlockSource, power: int
    ) -> Tensor:
        """Return n (1 - nλ M_ii) / ρ_i², power 2: n² (M_ii - nλ [M²]_ii) / ρ_i²; M = (K + nλI)^-1."""
        rows = of_kind(operator, RowOperator, "Woodbury")
        n, scale = rows.n, rows.scale[: rows.samples]
        inverse = torch.cholesky_inverse(self._factor(state))
        diagonal = inverse.diagonal()[: rows.samples]
        if power == 1:
            left, size = 1.0 - n * self.shift * diagonal, torch.ones_like(diagonal)
        else:
            left = diagonal - n * self.shift * inverse.square().sum(0)[: rows.samples]
            size = diagonal
        found = n**power * left / scale.square()
        # A sample that is surely right or wrong (ρ ≈ 0): the difference has no digits left.
        lost = (left < CANCELLED * size).nonzero()[:, 0]
        if len(lost):
            g = rows.pick(lost)
            products = rows.times(g)
            c = inverse @ products
            if power == 1:
                found[lost] = n * c[lost, torch.arange(len(lost))] / scale[lost]
            else:  # x = (g - Rᵀc)/λ with c = M R g, expanded
                both = (c * (state["gram"] @ c - 2 * products)).sum(0)
                found[lost] = (g.squared_norms() + both) / self.shift**2
        return found

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of K, its factor and what they are made in, and of products with the tests."""
        rows, m = sizes.rows, sizes.m
        work = rows * (rows / 2 + m) * sizes.pair + rows**2 * (rows / 3 + 2 * m)
        return Cost(40 * rows**2, work, 8 * sizes.n * m)

    def _factor(self, state: State) -> Tensor:
        """Return L with L Lᵀ = K + nλI, or raise ValueError if there is none."""
        damped = state["gram"].clone()
        damped.diagonal().add_(len(damped) * self.shift)
        factor, info = torch.linalg.cholesky_ex(damped)
        if int(info) != 0:
            raise ValueError(
                "K + nλI must be positive definite, got a matrix that is not, to rounding, with damping "
                f"{self.shift:.3g} where the mean of K's diagonal is "
                f"{float(state['gram'].diagonal().mean()):.3g}; raise the damping"
            )
        return factor
