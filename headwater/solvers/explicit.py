"""The exact solution, by factorising the whole matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator
from headwater.memory import check_memory
from headwater.solvers.solver import Solution, Solver, State

__all__ = ["Explicit"]


@dataclass(frozen=True)
class Explicit(Solver):
    """Form C (p × p), factorise C + λI in float64 and solve: exact, for small models.

    Cholesky where the matrix is positive definite, LU where it is not. Memory: C in the
    parameters' dtype, and three p × p matrices in float64 while solving.

    Args:
        damping: λ ≥ 0, absolute.

    Raises:
        ValueError: if the damping is negative.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> from headwater.gradients import DenseGradients
        >>> C = RowOperator(DenseGradients(torch.eye(2)), torch.ones(2))  # I/2
        >>> solver = Explicit(damping=0.5)
        >>> solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value.tolist()
        [[1.0, 1.0]]
    """

    damping: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("damping", self.damping, allow_zero=True)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"matrix": C}, (p, p); it does not depend on the damping.

        Raises:
            MemoryError: if the matrices would not fit.
        """
        p = operator.size
        check_memory(
            f"the explicit curvature of {p:,} parameters",
            p * p * (torch.finfo(operator.dtype).bits // 8 + 3 * 8),
            "use ConjugateGradient or Woodbury, or restrict the task with layers=",
            operator.device,
        )
        matrix = operator.dense()
        return {"matrix": matrix.add_(matrix.T.clone()).mul_(0.5)}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs.

        Raises:
            ValueError: if C + λI is singular.
        """
        check_shape("the right-hand sides", rhs, (None, operator.size))
        damped = state["matrix"].to(torch.float64, copy=True)
        damped.diagonal().add_(self.damping)
        b = rhs.to(torch.float64).T
        factor, info = torch.linalg.cholesky_ex(damped)
        if int(info) == 0:
            x = torch.cholesky_solve(b, factor)
        else:
            x, info = torch.linalg.solve_ex(damped, b)
            if int(info) != 0:
                raise ValueError(
                    f"C + λI must not be singular, got a zero pivot with damping {self.damping}; "
                    "raise the damping"
                )
        norms = b.norm(dim=0).clamp_min(torch.finfo(b.dtype).tiny)
        residual = (damped @ x - b).norm(dim=0) / norms
        return Solution(
            value=x.T.to(rhs.dtype).contiguous(),
            residual=residual,
            steps=torch.ones(len(rhs), dtype=torch.int64),
            converged=residual < 1e-6,
        )
