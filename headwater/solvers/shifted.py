"""Conjugate gradients for many dampings at once, from one Krylov space."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from headwater.curvature import LinearOperator
from headwater.solvers.solver import Solution

__all__ = ["shifted_conjugate_gradient"]


@dataclass
class _Shift:
    """The iterates of (C + λI) x = b that follow from those of the least damping μ, σ = λ - μ.

    Its residual is ζ r with r that of μ, and one product serves both:
    ζ' = ζ ζ_ / ((1 + σ α) ζ_ + (α β_ / α_) (ζ_ - ζ)), α of this system = α ζ'/ζ, β = β (ζ'/ζ)²
    (_: of the step before).
    """

    shift: float
    x: Tensor
    d: Tensor
    squares: Tensor
    zeta: Tensor = field(init=False)
    before: Tensor = field(init=False)
    steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.zeta = torch.ones(len(self.x), dtype=torch.float64, device=self.x.device)
        self.before = self.zeta.clone()
        self.steps = torch.zeros(len(self.x), dtype=torch.int64, device=self.x.device)

    def advance(self, rows: Tensor, alpha: Tensor, ratio: Tensor, squares: Tensor) -> Tensor:
        """Take the step of rows; ratio = α β_ / α_, squares = ⟨r', r'⟩; return ζ'/ζ."""
        zeta, before = self.zeta[rows], self.before[rows]
        quotient = before / ((1.0 + self.shift * alpha) * before + ratio * (before - zeta))
        self.x[rows] += _column(alpha * quotient, self.x) * self.d[rows]
        self.before[rows], self.zeta[rows] = zeta, zeta * quotient
        self.squares[rows] = self.zeta[rows].square() * squares
        self.steps[rows] += 1
        return quotient

    def turn(self, rows: Tensor, beta: Tensor, r: Tensor) -> None:
        """Set the next directions of rows, r their residuals at the least damping."""
        self.d[rows] = _column(self.zeta[rows], r) * r + _column(beta, r) * self.d[rows]


def shifted_conjugate_gradient(
    operator: LinearOperator,
    rhs: Tensor,
    dampings: list[float],
    max_iterations: int,
    tolerance: float,
) -> list[Solution]:
    """Solve (C + λI) x = b for each row of rhs and each damping.

    Where the matrix of the least damping is not positive definite, its rows stop unconverged, and the
    other dampings of these rows are solved again without it.

    Args:
        operator: C.
        rhs: (m, p).
        dampings: λ, in any order.
        max_iterations: products at most.
        tolerance: of the relative residual, for each row and damping on its own.

    Returns:
        One solution a damping.
    """
    if not dampings:
        return []
    least = min(dampings)
    r, d = rhs.clone(), rhs.clone()
    rr = _dots(r, r)
    norms, goal = rr.clamp_min(torch.finfo(torch.float64).tiny), rr * tolerance**2
    shifts = [
        _Shift(damping - least, torch.zeros_like(r), d.clone(), rr.clone()) for damping in dampings
    ]
    ratio = torch.zeros_like(rr)  # β_ / α_
    active, broken = (rr > goal).nonzero()[:, 0], torch.zeros_like(rr, dtype=torch.bool)
    for _ in range(max_iterations):
        if not len(active):
            break
        direction = d[active]
        product = operator.apply(direction).add_(direction, alpha=least)
        curvature = _dots(direction, product)
        convex = curvature > 0
        broken[active[~convex]] = True
        active, direction, product = active[convex], direction[convex], product[convex]
        alpha = rr[active] / curvature[convex]
        r[active] -= _column(alpha, r) * product
        new = _dots(r[active], r[active])
        beta = new / rr[active]
        for shift in shifts:
            # A system that has converged rests, while those with less damping go on.
            going = shift.squares[active] > goal[active]
            rows = active[going]
            scaled = (alpha * ratio[active])[going]
            quotient = shift.advance(rows, alpha[going], scaled, new[going])
            shift.turn(rows, beta[going] * quotient.square(), r[rows])
        d[active] = r[active] + _column(beta, r) * direction
        rr[active], ratio[active] = new, beta / alpha
        active = active[new > goal[active]]
    solutions = [
        Solution(shift.x, (shift.squares / norms).sqrt(), shift.steps, shift.squares <= goal)
        for shift in shifts
    ]
    if bool(broken.any()):
        rest = [i for i, damping in enumerate(dampings) if damping > least]
        others = [dampings[i] for i in rest]
        again = shifted_conjugate_gradient(operator, rhs[broken], others, max_iterations, tolerance)
        for i, solution in zip(rest, again, strict=True):
            for name in ("value", "residual", "steps", "converged"):
                getattr(solutions[i], name)[broken] = getattr(solution, name)
    return solutions


def _dots(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(1, dtype=torch.float64)


def _column(factors: Tensor, like: Tensor) -> Tensor:
    return factors.to(like.dtype)[:, None]
