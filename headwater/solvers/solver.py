"""The interface of all solvers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from headwater.curvature import Curvature, LinearOperator, curvatures_that_offer
from headwater.curvature.row_operator import BlockSource
from headwater.gradients import Gradients
from headwater.memory import LARGE, Cost, Sizes, check_memory, row_blocks
from headwater.solvers.damping import Damping, Relative, absolute, check_damping

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]
"""Named tensors that depend on the training data only: what a stage caches."""
Inverse = Callable[[Tensor], Tensor]
"""b ↦ (C + λI)^-1 b for blocks of rows (m, p)."""


class Solution(NamedTuple):
    """What a solver found, with what is needed to trust it."""

    value: Tensor
    """x, one row per right-hand side, (m, p)."""
    residual: Tensor
    """‖b - (C + λI) x‖ / ‖b‖, (m,)."""
    steps: Tensor
    """The number of iterations taken, (m,)."""
    converged: Tensor
    """Whether the residual met the tolerance, (m,) bool."""


class Solver(ABC):
    """Solve (C + λI) x = b for a symmetric operator C and blocks of right-hand sides."""

    damping: Damping
    """λ in the unit of C, > 0 unless a solver says otherwise; a number wherever it is solved."""
    asks: ClassVar[frozenset[str]] = frozenset()
    """What C must offer beyond products, in the words of `headwater.curvature.operator`."""

    def __post_init__(self) -> None:
        check_damping(self.damping)

    @property
    def parts(self) -> dict[str, Solver]:
        """The solvers inside of it, such as a preconditioner, by the names of their arguments."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Solver)}

    @property
    def asked(self) -> frozenset[str]:
        """What it asks for, and what the solvers inside of it ask for."""
        return self.asks.union(*(part.asked for part in self.parts.values()))

    @property
    def is_relative(self) -> bool:
        """Whether λ, or that of a solver inside of it, is not a number yet."""
        own = isinstance(self.damping, (str, Relative))
        return own or any(part.is_relative for part in self.parts.values())

    @property
    def shift(self) -> float:
        """λ as a number; ValueError if it is relative to a curvature still."""
        if isinstance(self.damping, (int, float)):
            return self.damping
        raise ValueError(
            f"damping must be a number to solve with, got {self.damping!r}; "
            "resolve it with Solver.resolved, as InfluenceFunction does"
        )

    def resolved(self, mean_eigenvalue: float) -> Self:
        """Return the solver with λ as a number, and so the solvers inside of it, given tr(C)/p."""
        if not self.is_relative:
            return self
        changes: dict[str, Any] = {n: p.resolved(mean_eigenvalue) for n, p in self.parts.items()}
        changes["damping"] = absolute(self.damping, mean_eigenvalue)
        return replace(self, **changes)  # type: ignore[type-var]

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
        """Compute everything that depends neither on the right-hand sides nor on the damping.

        TypeError if the operator does not offer what it asks for, MemoryError if the state would not fit.
        """

    @abstractmethod
    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs (m, p)."""

    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
        """Return b ↦ (C + λI)^-1 b for blocks of rows (m, p); what blocks share is computed once."""

        def solved(rhs: Tensor) -> Tensor:
            solution = self.solve(operator, state, rhs)
            _report(solution)
            return solution.value

        return solved

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return what `score` needs of x_j = (C + λI)^-1 f_j, for all test gradients f_j.

        Here {"vectors": x (m, p)} and the other parts of a `Solution`. Solvers in Gram space form no
        such vector: {"products": ⟨g_i, x_j⟩ (n, m)} with all training gradients, in float64. MemoryError
        if the vectors would not fit.
        """
        parts = [self.solve(operator, state, f) for f in _formed_blocks(test)]
        joined = Solution(*map(torch.cat, zip(*parts, strict=True)))
        _report(joined)
        named = joined._asdict()
        return {"vectors": named.pop("value"), **named}

    def score(self, train: Gradients, rows: slice, solved: State) -> Tensor:
        """Return ⟨g_i, x_j⟩, (b, m), for the gradients g_i of some rows of the training data."""
        if "products" in solved:
            return solved["products"][rows]
        return train.inner_vectors(solved["vectors"])

    def cost(self, sizes: Sizes) -> Cost:
        """Return the cost of m solutions and of their scores; default: two copies of vectors (m, p)."""
        return Cost(8 * sizes.m * sizes.p, 2 * sizes.n * sizes.m * sizes.p, 4 * sizes.m * sizes.p)

    def quadratic(
        self, operator: LinearOperator, state: State, source: BlockSource, power: int
    ) -> Tensor:
        """Return ⟨g_i, (C + λI)^-power g_i⟩ (power 1 or 2) for all training gradients, (n,), float64."""
        inverse, found = self.inverse(operator, state), []
        for block in source.train_blocks():
            for rows in row_blocks(len(block), block.dimension, block.device, numbers=LARGE):
                g = block[rows].dense()
                x = inverse(g)
                found.append((x * (g if power == 1 else x)).sum(1, dtype=torch.float64))
        return torch.cat(found)


class DirectSolver(Solver):
    """A solver without iterations: it knows (C + λI)^-1, or what stands for it, as a linear map."""

    @abstractmethod
    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
        """Return b ↦ (C + λI)^-1 b for blocks of rows (m, p); what blocks share is computed once."""

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs (m, p); the residual is the true one, of one more product."""
        x = self.inverse(operator, state)(rhs)
        return with_residual(operator.apply(x), self.shift, x, rhs)

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return {"vectors": (C + λI)^-1 f_j (m, p)}; residuals would cost more than they do."""
        inverse = self.inverse(operator, state)
        return {"vectors": torch.cat([inverse(f) for f in _formed_blocks(test)])}


def with_residual(
    product: Tensor, damping: float, x: Tensor, rhs: Tensor, steps: int = 1, tolerance: float = 1e-3
) -> Solution:
    """Return x with ‖b - (C + λI) x‖ / ‖b‖, 0 where b = 0, given C x, which is overwritten."""
    left = product.add_(x, alpha=damping).sub_(rhs)
    norms = rhs.norm(dim=1).clamp_min(torch.finfo(rhs.dtype).tiny)
    residual = left.norm(dim=1).double() / norms.double()
    return Solution(x, residual, torch.full((len(rhs),), steps), residual < tolerance)


def _formed_blocks(test: Gradients) -> Iterator[Tensor]:
    m, p = len(test), test.dimension
    advice = "attribute fewer test samples at a time, or use Woodbury, Eigenbasis or a projection"
    what = f"a solution for each of {m:,} test samples and {p:,} parameters"
    check_memory(what, 2 * m * p * test.dtype.itemsize, advice, test.device)
    for rows in list(row_blocks(m, p, test.device, numbers=LARGE)) or [slice(0)]:
        yield test[rows].dense()


def _report(solution: Solution) -> None:
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
