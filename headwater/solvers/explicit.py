"""The exact solution, by factorising the matrix: as a whole, or its diagonal blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator, RowOperator
from headwater.curvature.grouped import as_vectors
from headwater.gradients import Gradients, Scheme
from headwater.memory import LARGE, check_memory, row_blocks
from headwater.solvers.damping import Damping, check_damping
from headwater.solvers.solver import Solution, Solver, State, formed_blocks

__all__ = ["Blocks", "Explicit"]

Blocks = int | Sequence[int] | Literal["layers"]
"""A number of equal blocks, the size of each, or "layers": one per group of parameters."""


@dataclass(frozen=True)
class Explicit(Solver):
    """Form C, factorise C + λI in float64 and solve: exact, for few parameters or projected gradients.

    With several blocks all of C that is between two of them is left out: (C_b + λI)^-1 for each. Made
    of rows C_b = (1/n) R_bᵀR_b is summed in float64 over blocks of samples; else it is made of products
    with the identity. Cholesky where C_b + λI is positive definite, LU where it is not. Memory: three
    times C in float64.

    Args:
        damping: λ ≥ 0, absolute or relative.
        blocks: number or sizes of the diagonal blocks; "layers", for rows: one per group of parameters,
            which is one per layer where gradients are projected layer by layer.

    Raises:
        ValueError: if the damping is negative, or blocks do not say how to cut C.

    Example:
        >>> C = RowOperator.of(Gradients.of_vectors(torch.eye(2)))  # I/2
        >>> solver = Explicit(damping=0.5)
        >>> solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value.tolist()
        [[1.0, 1.0]]
    """

    damping: Damping
    blocks: Blocks = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_damping(self.damping, allow_zero=True)
        if isinstance(self.blocks, str):
            if self.blocks != "layers":
                raise ValueError(f"blocks must be a number, sizes or 'layers', got {self.blocks!r}")
            return
        if not isinstance(self.blocks, int) and not len(self.blocks):
            raise ValueError("blocks must hold at least one size, got none; use 1 for one block")
        for size in [self.blocks] if isinstance(self.blocks, int) else self.blocks:
            check_positive("blocks", size)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"matrix.0000": C_0, ...} in float64, (k_b, k_b); whatever the damping.

        Raises:
            ValueError: if C cannot be cut as the blocks say.
            MemoryError: if the matrices would not fit.
        """
        scheme = self._scheme(operator)
        sizes = [part.layout.size for part in scheme.by_group]
        check_memory(
            f"the explicit curvature of {operator.size:,} parameters",
            3 * 8 * sum(size**2 for size in sizes),
            "use ConjugateGradient or Woodbury, more blocks, or restrict the task with layers=",
            operator.device,
        )
        new = {"dtype": torch.float64, "device": operator.device}
        matrices = [torch.zeros(size, size, **new) for size in sizes]  # type: ignore[call-overload]
        if isinstance(operator, RowOperator):
            for g, rows in operator.formed():
                weighted = g.double() * operator.scale[rows, None]
                for group, matrix in enumerate(matrices):
                    r = scheme.take(weighted, group)
                    matrix.addmm_(r.T, r, alpha=1.0 / operator.n)
        else:
            for matrix, products in zip(matrices, _blocks_of(operator, sizes), strict=True):
                matrix.copy_(products).add_(products.T).mul_(0.5)
        return {f"matrix.{b:04d}": matrix for b, matrix in enumerate(matrices)}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is that of the blocks: of all of C if there is one.

        Raises:
            ValueError: if C_b + λI is singular.
        """
        wide, scheme = rhs.double(), self._scheme(operator)
        x = self.inverse(operator, state)(wide)
        left = torch.zeros(len(rhs), dtype=torch.float64, device=rhs.device)
        for group, matrix in enumerate(_matrices(state)):
            part, b = scheme.take(x, group), scheme.take(wide, group)
            left += (
                torch.addmm(b, part, matrix, beta=-1).add_(part, alpha=self.shift).square().sum(1)
            )
        norms = wide.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
        residual, steps = left.sqrt() / norms, torch.ones(len(rhs), dtype=torch.int64)
        return Solution(x.to(rhs.dtype), residual, steps, residual < 1e-6)

    def inverse(self, operator: LinearOperator, state: State) -> Callable[[Tensor], Tensor]:
        """Return b ↦ (C_b + λI)^-1 b, block by block; the matrices are factorised once."""
        scheme = self._scheme(operator)
        factors = [_factorised(matrix, self.shift) for matrix in _matrices(state)]

        def solved(rhs: Tensor) -> Tensor:
            check_shape("the right-hand sides", rhs, (None, operator.size))
            parts = (scheme.take(rhs, group).double().T for group in range(len(factors)))
            found = [solve(b).T for solve, b in zip(factors, parts, strict=True)]
            return as_vectors(scheme, found).to(rhs.dtype).contiguous()

        return solved

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return {"vectors": (C + λI)^-1 f_j}, (m, p)."""
        inverse = self.inverse(operator, state)
        return {"vectors": torch.cat([inverse(f) for f in formed_blocks(test)])}

    def _scheme(self, operator: LinearOperator) -> Scheme:
        """Return the blocks as groups of parameters.

        Raises:
            ValueError: if they do not fit the operator.
        """
        p, blocks = operator.size, self.blocks
        if isinstance(blocks, str):
            if not isinstance(operator, RowOperator):
                raise ValueError(
                    "blocks='layers' needs an operator made of gradients, got "
                    f"{type(operator).__name__}; pass the sizes as blocks=(...)"
                )
            return operator.scheme
        sizes = blocks
        if isinstance(blocks, int):
            each, more = divmod(p, blocks)
            sizes = [each + 1] * more + [each] * (blocks - more)
        assert not isinstance(sizes, int)
        if sum(sizes) != p or min(sizes) < 1:
            raise ValueError(
                f"blocks must cut {p} dimensions into parts that are not empty, got {blocks!r}; "
                "use fewer blocks, or sizes that add up"
            )
        return Scheme.of_widths(sizes)


def _matrices(state: State) -> Iterator[Tensor]:
    """Yield the blocks of a state in order."""
    names = itertools.takewhile(state.__contains__, map("matrix.{:04d}".format, itertools.count()))
    return (state[name] for name in names)


def _blocks_of(operator: LinearOperator, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Yield the diagonal blocks of an operator, from products with the identity."""
    start = 0
    for size in sizes:
        parts = [
            operator.apply(operator.unit_rows(start + rows.start, start + rows.stop))
            for rows in row_blocks(size, operator.size, operator.device, numbers=LARGE)
        ]
        yield torch.cat([part[:, start : start + size] for part in parts])
        start += size


def _factorised(matrix: Tensor, damping: float) -> Callable[[Tensor], Tensor]:
    """Return b ↦ (C + λI)^-1 b for columns b: by Cholesky's factorisation, or LU if there is none.

    Raises:
        ValueError: if the matrix is singular.
    """
    damped = matrix.clone()
    damped.diagonal().add_(damping)
    factor, info = torch.linalg.cholesky_ex(damped)
    if int(info) == 0:
        solve = partial(_cholesky_solve, factor)
    else:
        solve = partial(torch.linalg.lu_solve, *torch.linalg.lu_factor_ex(damped)[:2])
    # Inverse iteration finds the norm of the inverse; pivots of a singular matrix may well be large.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(damped), 1, generator=generator, dtype=damped.dtype).to(damped.device)
    for _ in range(3):
        x = solve(x / x.norm())
    rounding = len(damped) * torch.finfo(damped.dtype).eps * torch.linalg.matrix_norm(damped, 1)
    if not float(rounding * x.norm()) < 1.0:
        raise ValueError(
            "C + λI must be positive definite, or have negative eigenvalues but none that is zero, got "
            f"a singular matrix of size {len(damped)} with damping {damping}; use a dimension below "
            "the number of samples, or damping > 0"
        )
    return solve


def _cholesky_solve(factor: Tensor, b: Tensor) -> Tensor:
    return torch.cholesky_solve(b, factor)
