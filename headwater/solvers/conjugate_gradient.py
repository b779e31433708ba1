"""Conjugate gradients for a whole block of right-hand sides in lockstep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator
from headwater.solvers.solver import Solution, Solver, State

__all__ = ["ConjugateGradient"]


@dataclass(frozen=True)
class ConjugateGradient(Solver):
    """Solve (C + λI) x = b by conjugate gradients, every product taken for all unsolved rows at once.

    x ← x + α d,  r ← r - α (C + λI) d,  d ← r + β d,  α = ⟨r,r⟩/⟨d,(C + λI)d⟩,  β = ⟨r',r'⟩/⟨r,r⟩.
    A row stops when ‖r‖ ≤ tolerance · ‖b‖. It also stops, unconverged, where ⟨d,(C + λI)d⟩ ≤ 0: the
    matrix is not positive definite there, and a step would go the wrong way (raise the damping).

    Args:
        damping: λ ≥ 0, absolute.
        max_iterations: products at most.
        tolerance: of the relative residual.
        progress: called with (iteration, unsolved rows) after each product.

    Raises:
        ValueError: if an argument is out of range.

    Reference:
        Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.
        Martens, Deep Learning via Hessian-Free Optimization, ICML 2010.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> from headwater.gradients import DenseGradients
        >>> C = RowOperator(DenseGradients(torch.eye(2)), torch.ones(2))  # I/2
        >>> ConjugateGradient(damping=0.5).solve(C, {}, torch.ones(1, 2)).value.tolist()
        [[1.0, 1.0]]
    """

    damping: float
    max_iterations: int = 10
    tolerance: float = 1e-6
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("damping", self.damping, allow_zero=True)
        check_positive("max_iterations", self.max_iterations)
        check_positive("tolerance", self.tolerance, allow_zero=True)

    def prepare(self, operator: LinearOperator) -> State:
        """Return nothing: all work depends on the right-hand sides."""
        return {}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        x, r, d = torch.zeros_like(rhs), rhs.clone(), rhs.clone()
        rr = _dots(r, r)
        goal = rr * self.tolerance**2
        steps = torch.zeros(len(rhs), dtype=torch.int64, device=rhs.device)
        active = (rr > goal).nonzero()[:, 0]
        for iteration in range(self.max_iterations):
            if not len(active):
                break
            direction = d[active]
            product = operator.apply(direction).add_(direction, alpha=self.damping)
            curvature = _dots(direction, product)
            convex = curvature > 0
            active, direction, product = active[convex], direction[convex], product[convex]
            alpha = (rr[active] / curvature[convex]).to(rhs.dtype)[:, None]
            x[active] += alpha * direction
            r[active] -= alpha * product
            steps[active] += 1
            new = _dots(r[active], r[active])
            d[active] = r[active] + (new / rr[active]).to(rhs.dtype)[:, None] * direction
            rr[active] = new
            active = active[new > goal[active]]
            if self.progress is not None:
                self.progress(iteration + 1, len(active))
        norms = _dots(rhs, rhs).clamp_min(torch.finfo(torch.float64).tiny)
        return Solution(x, (rr / norms).sqrt(), steps, rr <= goal)


def _dots(x: Tensor, y: Tensor) -> Tensor:
    """Return ⟨x_i, y_i⟩ summed in float64, (m,)."""
    return (x * y).sum(1, dtype=torch.float64)
