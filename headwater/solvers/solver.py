"""The interface of all solvers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.curvature import Curvature, LinearOperator, curvatures_that_offer
from headwater.gradients import DenseGradients, Gradients
from headwater.solvers.blocks import row_blocks

__all__ = ["Solution", "Solver", "State", "direct_solution", "relative_residuals"]

log = logging.getLogger(__name__)
WORKSPACE = 2**27
"""Numbers that one block of right-hand sides may hold (512 MiB in float32)."""

State = Mapping[str, Tensor]
"""Named tensors that depend on the training data only: what a stage caches."""


@dataclass(frozen=True)
class Solution:
    """The result of a solver, with what is needed to trust it.

    Args:
        value: x, one row a right-hand side, (m, p).
        residual: ‖b - (C + λI) x‖ / ‖b‖, (m,).
        steps: the number of iterations taken, (m,).
        converged: whether the residual met the tolerance, (m,) bool.
    """

    value: Tensor
    residual: Tensor
    steps: Tensor
    converged: Tensor


class Solver(ABC):
    """Solve (C + λI) x = b for a symmetric operator C and blocks of right-hand sides."""

    damping: float
    """λ, absolute."""
    asks: ClassVar[frozenset[str]] = frozenset()
    """What C must offer beyond products, in the words of `headwater.curvature.operator`."""

    @property
    def asked(self) -> frozenset[str]:
        """What it asks for, and what the solvers inside of it ask for."""
        return self.asks

    def check_curvature(self, curvature: Curvature) -> None:
        """Raise ValueError if a curvature does not offer what this solver asks for."""
        missing = self.asked - curvature.offers
        if missing:
            names = curvatures_that_offer(self.asked)
            raise ValueError(
                f"{type(self).__name__} needs a curvature that offers {' and '.join(sorted(missing))}, "
                f"got {type(curvature).__name__}; use {' or '.join(names) or 'another'}, "
                "or ConjugateGradient as solver"
            )

    @abstractmethod
    def prepare(self, operator: LinearOperator) -> State:
        """Compute everything that depends neither on the right-hand sides nor on the damping."""

    @abstractmethod
    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs (m, p)."""

    def precondition(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return what `inner` needs of (C + λI)^-1 f_j, for all test gradients f_j."""
        solution = self.solve(operator, state, test.dense())
        _report(solution)
        return {
            "vectors": solution.value,
            "residual": solution.residual,
            "steps": solution.steps,
            "converged": solution.converged,
        }

    def inner(self, train: Gradients, rows: slice, scale: Tensor, solved: State) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 f_j⟩, (b, m), for one block of training gradients.

        Args:
            train: the block, samples `rows` of the training data.
            rows: which samples these are.
            scale: their ρ_i, (b,) (ones where the curvature is not made of rows).
            solved: what `precondition` returned.
        """
        return train.inner(DenseGradients(solved["vectors"]))

    def values(self, operator: LinearOperator, state: State, rhs: Tensor) -> Tensor:
        """Return the solution for each row of rhs, (m, p), where its residual is not asked for."""
        solution = self.solve(operator, state, rhs)
        _report(solution)
        return solution.value

    def self_inner(self, operator: LinearOperator, state: State, train: Gradients) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 g_i⟩, (n,), for all training gradients."""
        pairs = self._solved_blocks(operator, state, train)
        return torch.cat([(g * x).sum(1, dtype=torch.float64) for g, x in pairs])

    def squared_solution_norms(
        self, operator: LinearOperator, state: State, train: Gradients
    ) -> Tensor:
        """Return ‖(C + λI)^-1 g_i‖², (n,), for all training gradients."""
        pairs = self._solved_blocks(operator, state, train)
        return torch.cat([(x * x).sum(1, dtype=torch.float64) for _, x in pairs])

    def _solved_blocks(
        self, operator: LinearOperator, state: State, train: Gradients
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (g, (C + λI)^-1 g), a block of training samples at a time."""
        for block in row_blocks(len(train), train.dimension, WORKSPACE):
            g = train[block].dense()
            yield g, self.values(operator, state, g)


def relative_residuals(operator: LinearOperator, damping: float, x: Tensor, rhs: Tensor) -> Tensor:
    """Return ‖b - (C + λI) x‖ / ‖b‖ in float64, (m,), by one more product; 0 where b = 0."""
    left = operator.apply(x).add_(x, alpha=damping).sub_(rhs)
    norms = rhs.norm(dim=1).clamp_min(torch.finfo(rhs.dtype).tiny)
    return left.norm(dim=1).double() / norms.double()


def direct_solution(operator: LinearOperator, damping: float, x: Tensor, rhs: Tensor) -> Solution:
    """Return what a method without iterations found, with its true residual."""
    residual = relative_residuals(operator, damping, x, rhs)
    steps = torch.ones(len(rhs), dtype=torch.int64)
    return Solution(x, residual, steps, residual < 1e-3)


def _report(solution: Solution) -> None:
    """Say how many solutions did not converge, and by how much."""
    failed = ~solution.converged
    if bool(failed.any()):
        log.warning(
            "%d of %d solutions did not converge, worst relative residual %.2g after %d steps; "
            "raise the damping or the iterations",
            int(failed.sum()),
            len(failed),
            float(solution.residual.max()),
            int(solution.steps.max()),
        )
