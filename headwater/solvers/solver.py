"""The interface of all solvers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.curvature import Curvature, LinearOperator, curvatures_that_offer
from headwater.curvature.row_operator import BlockSource
from headwater.gradients import Gradients
from headwater.memory import LARGE, check_memory, row_blocks
from headwater.solvers.damping import Damping, check_damping

__all__ = [
    "Solution",
    "Solver",
    "State",
    "blocks_of",
    "direct_solution",
    "formed_blocks",
    "relative_residuals",
]

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]
"""Named tensors that depend on the training data only: what a stage caches."""


@dataclass(frozen=True)
class Solution:
    """The result of a solver, with what is needed to trust it.

    Args:
        value: x, one row per right-hand side, (m, p).
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

    damping: Damping
    """λ in the unit of C; a number wherever it is solved."""
    asks: ClassVar[frozenset[str]] = frozenset()
    """What C must offer beyond products, in the words of `headwater.curvature.operator`."""

    def __post_init__(self) -> None:
        """Check the damping."""
        check_damping(self.damping)

    @property
    def shift(self) -> float:
        """λ as a number.

        Raises:
            ValueError: if it is relative to a curvature still.
        """
        if isinstance(self.damping, (int, float)):
            return self.damping
        raise ValueError(
            f"damping must be a number to solve with, got {self.damping!r}; "
            "resolve it with headwater.solvers.damping, as InfluenceFunction does"
        )

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

    def inverse(self, operator: LinearOperator, state: State) -> Callable[[Tensor], Tensor]:
        """Return b ↦ (C + λI)^-1 b for blocks of rows (m, p); what blocks share is computed once."""

        def solved(rhs: Tensor) -> Tensor:
            solution = self.solve(operator, state, rhs)
            _report(solution)
            return solution.value

        return solved

    def solution(self, operator: LinearOperator, state: State, rhs: Tensor) -> Tensor:
        """Return the solution for each row of rhs, (m, p), where its residual is not asked for."""
        return self.inverse(operator, state)(rhs)

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return what `score` needs of x_j = (C + λI)^-1 f_j, for all test gradients f_j.

        Here {"vectors": x (m, p)} and the other parts of a `Solution`. Solvers in Gram space form no
        such vector: {"products": ⟨g_i, x_j⟩ (n, m)} with all training gradients, in float64.

        Raises:
            MemoryError: if the vectors would not fit.
        """
        parts = [self.solve(operator, state, f) for f in formed_blocks(test)]
        names = ("value", "residual", "steps", "converged")
        joined = Solution(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
        _report(joined)
        return {
            "vectors": joined.value,
            "residual": joined.residual,
            "steps": joined.steps,
            "converged": joined.converged,
        }

    def score(self, train: Gradients, rows: slice, solved: State) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 f_j⟩, (b, m), for one block of training gradients.

        Args:
            train: the block, samples `rows` of the training data.
            rows: which samples these are.
            solved: what `solve_gradients` returned.
        """
        if "products" in solved:
            return solved["products"][rows]
        return train.inner_vectors(solved["vectors"])

    def quadratic(
        self,
        operator: LinearOperator,
        state: State,
        train: Gradients | BlockSource,
        power: int,
    ) -> Tensor:
        """Return ⟨g_i, (C + λI)^-power g_i⟩, (n,) in float64, for all training gradients.

        Args:
            operator: C.
            state: what `prepare` returned.
            train: all training gradients, or a source that has them block by block.
            power: 1, or 2 for ‖(C + λI)^-1 g_i‖².
        """
        inverse, found = self.inverse(operator, state), []
        for block in blocks_of(train):
            for rows in row_blocks(len(block), block.dimension, block.device, numbers=LARGE):
                g = block[rows].dense()
                x = inverse(g)
                found.append((x * (g if power == 1 else x)).sum(1, dtype=torch.float64))
        return torch.cat(found)


def formed_blocks(test: Gradients) -> Iterator[Tensor]:
    """Yield gradients as vectors, (b, p), one block at least.

    Raises:
        MemoryError: if as many vectors would not fit.
    """
    m, p = len(test), test.dimension
    advice = "attribute fewer test samples at a time, or use Woodbury, Eigenbasis or a projection"
    what = f"a solution for each of {m:,} test samples and {p:,} parameters"
    check_memory(what, 2 * m * p * test.dtype.itemsize, advice, test.device)
    for rows in list(row_blocks(m, p, test.device, numbers=LARGE)) or [slice(0)]:
        yield test[rows].dense()


def blocks_of(train: Gradients | BlockSource) -> Iterator[Gradients]:
    """Return blocks of gradients in order: of a source, or all of them as one."""
    return iter([train]) if isinstance(train, Gradients) else train.train_blocks()


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
