"""Conjugate gradients for a whole block of right-hand sides in lockstep."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator
from headwater.memory import Cost, Sizes, row_blocks
from headwater.solvers.damping import Damping, check_damping
from headwater.solvers.solver import Inverse, Solution, Solver, State


@dataclass(frozen=True)
class ConjugateGradient(Solver):
    """Solve (C + λI) x = b by conjugate gradients, every product taken for all unsolved rows at once.

    x ← x + α d,  r ← r - α (C + λI) d,  d ← z + β d,  α = ⟨r,z⟩/⟨d,(C + λI)d⟩,  β = ⟨r',z'⟩/⟨r,z⟩,
    with z = r, or z = M r for a preconditioner M ≈ (C + λI)^-1. A row stops when ‖r‖ ≤ tolerance · ‖b‖,
    or, unconverged, where ⟨d,(C + λI)d⟩ ≤ 0: the matrix is not positive definite (raise the damping).

    Args:
        damping: λ ≥ 0, absolute or relative.
        max_iterations: products at most.
        tolerance: of the relative residual.
        progress: called with (iteration, unsolved rows) after each product.
        preconditioner: a solver whose cheap solution is M, symmetric and positive definite, with a
            damping of its own, such as ``Lanczos(damping, rank)``.

    Reference:
        Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.
        Martens, Deep Learning via Hessian-Free Optimization, ICML 2010.
    """

    damping: Damping
    max_iterations: int = 10
    tolerance: float = 1e-6
    progress: Callable[[int, int], None] | None = None
    preconditioner: Solver | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, allow_zero=True)
        check_positive("max_iterations", self.max_iterations)
        check_positive("tolerance", self.tolerance, allow_zero=True)

    def prepare(self, operator: LinearOperator) -> State:
        """Return what the preconditioner prepares; all other work depends on the right-hand sides."""
        return {} if self.preconditioner is None else self.preconditioner.prepare(operator)

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        inner = self.preconditioner
        run = _Run(rhs, (lambda r: r) if inner is None else inner.inverse(operator, state))
        norms, goal = run.rr.clone(), run.rr * self.tolerance**2
        active = ((run.rr > goal) & (run.rz > 0)).nonzero()[:, 0]
        for iteration in range(self.max_iterations):
            if not len(active):
                break
            products = operator.apply(run.d[active])
            # What is computed between two products stays in fast memory; too few rows share too little.
            for block in row_blocks(len(active), operator.size, operator.device, least=16):
                run.advance(active[block], products[block], self.shift)
            active = active[(run.rr > goal)[active] & (run.rz > 0)[active]]
            if self.progress is not None:
                self.progress(iteration + 1, len(active))
        norms = norms.clamp_min(torch.finfo(torch.float64).tiny)
        return Solution(run.x, (run.rr / norms).sqrt(), run.steps, run.rr <= goal)

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of x, r, d, C d and their updates, and of all products."""
        vectors = 4 * sizes.m * sizes.p
        return Cost(8 * vectors, self.max_iterations * sizes.m * sizes.product, vectors)


class _Run:
    """Where the iteration stands: solutions x, residuals r and directions d, one row each, (m, p).

    ⟨r, r⟩, ⟨r, z⟩ and the number of steps are (m,); where ⟨r, z⟩ ≤ 0 it can go no further.
    """

    def __init__(self, rhs: Tensor, precondition: Inverse) -> None:
        self.precondition = precondition
        self.x, self.r, self.d = torch.zeros_like(rhs), rhs.clone(), precondition(rhs).clone()
        self.rr, self.rz = _dots(self.r, self.r), _dots(self.r, self.d)
        self.steps = torch.zeros(len(rhs), dtype=torch.int64, device=rhs.device)

    def advance(self, rows: Tensor, product: Tensor, damping: float) -> None:
        """Take one step with some rows, given C d of them; those that are not convex end here."""
        direction = self.d[rows]
        product = product.add_(direction, alpha=damping)
        curvature = _dots(direction, product)
        convex = curvature > 0
        if not bool(convex.all()):
            self.rz[rows[~convex]] = 0.0
            rows, direction, product = rows[convex], direction[convex], product[convex]
        alpha = (self.rz[rows] / curvature[convex]).to(direction.dtype)[:, None]
        left = self.r[rows].sub_(alpha * product)
        z = self.precondition(left)
        new = _dots(left, z)
        beta = (new / self.rz[rows]).to(direction.dtype)[:, None]
        self.x[rows] += alpha * direction
        self.r[rows], self.d[rows] = left, direction.mul_(beta).add_(z)
        self.rr[rows], self.rz[rows] = _dots(left, left), new
        self.steps[rows] += 1


def _dots(x: Tensor, y: Tensor) -> Tensor:
    """Return ⟨x_i, y_i⟩ summed in float64, (m,)."""
    return (x * y).sum(1, dtype=torch.float64)
