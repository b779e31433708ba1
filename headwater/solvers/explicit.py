"""The exact solution, by factorising the matrix: as a whole, or its diagonal blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator, RowOperator
from headwater.gradients import Scheme
from headwater.memory import LARGE, Cost, Sizes, check_memory, rows_per_block
from headwater.solvers.damping import Damping, check_damping
from headwater.solvers.solver import DirectSolver, Inverse, Solution, State, with_residual

Blocks = int | Sequence[int] | Literal["layers"]
"""A number of equal blocks, the size of each, or "layers": one per group of parameters."""


@dataclass(frozen=True)
class Explicit(DirectSolver):
    """Form C, factorise C + λI in float64 and solve: exact, for few parameters or projected gradients.

    With several blocks all of C that is between two of them is left out: (C_b + λI)^-1 for each.
    Cholesky where C_b + λI is positive definite, LU where it is not. Memory: three times C in float64.

    Args:
        damping: λ ≥ 0, absolute or relative.
        blocks: number or sizes of the diagonal blocks; "layers", for rows: one per group of parameters,
            which is one per layer where gradients are projected layer by layer.

    Example:
        >>> from headwater.gradients import Gradients
        >>> C = RowOperator.of(Gradients.of_vectors(torch.eye(2)))  # I/2
        >>> solver = Explicit(damping=0.5)
        >>> solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value.tolist()
        [[1.0, 1.0]]
    """

    damping: Damping
    blocks: Blocks = 1

    def __post_init__(self) -> None:
        check_damping(self.damping, allow_zero=True)
        if isinstance(self.blocks, str):
            if self.blocks != "layers":
                raise ValueError(f"blocks must be a number, sizes or 'layers', got {self.blocks!r}")
            return
        sizes = [self.blocks] if isinstance(self.blocks, int) else self.blocks
        if not len(sizes):
            raise ValueError("blocks must hold at least one size, got none; use 1 for one block")
        for size in sizes:
            check_positive("blocks", size)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"matrix.0000": C_0, ...} in float64, (k_b, k_b); ValueError if C has no such blocks."""
        scheme = self._scheme(operator)
        sizes = [part.layout.size for part in scheme.by_group]
        what = f"the explicit curvature of {operator.size:,} parameters"
        advice = "use ConjugateGradient or Woodbury, more blocks, or restrict the task with layers="
        check_memory(what, 3 * 8 * sum(size**2 for size in sizes), advice, operator.device)
        if isinstance(operator, RowOperator):
            matrices = [operator.scale.new_zeros(size, size) for size in sizes]  # in float64
            for g, rows in operator.formed():
                weighted = g.double() * operator.scale[rows, None]
                for group, matrix in enumerate(matrices):
                    r = scheme.take(weighted, group)
                    matrix.addmm_(r.T, r, alpha=1.0 / operator.n)
        else:
            count = rows_per_block(operator.size, operator.device, numbers=LARGE)
            made = (operator.dense(count, block).double() for (block,) in scheme.columns)
            matrices = [(matrix + matrix.T).mul_(0.5) for matrix in made]
        return {_name(group): matrix for group, matrix in enumerate(matrices)}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is of the blocks. ValueError if any is singular."""
        wide, scheme = rhs.double(), self._scheme(operator)
        x = self.inverse(operator, state)(wide)
        parts = [scheme.take(x, g) @ state[_name(g)] for g in range(len(scheme.groups))]
        found = with_residual(scheme.join(parts), self.shift, x, wide, tolerance=1e-6)
        return found._replace(value=x.to(rhs.dtype))

    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
        """Return b ↦ (C_b + λI)^-1 b, block by block; the matrices are factorised once."""
        scheme = self._scheme(operator)
        groups = range(len(scheme.groups))
        factors = [_factorised(state[_name(group)], self.shift) for group in groups]

        def solved(rhs: Tensor) -> Tensor:
            check_shape("the right-hand sides", rhs, (None, operator.size))
            parts = [solve(scheme.take(rhs, g).double().T).T for g, solve in enumerate(factors)]
            return scheme.join(parts).to(rhs.dtype).contiguous()

        return solved

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of C, its factor and what they are made in, in float64, and of p products."""
        size = sizes.p**2 / (self.blocks if isinstance(self.blocks, int) else 1)
        return Cost(40 * size, sizes.p * (sizes.product + size / 3), 4 * sizes.m * sizes.p)

    def _scheme(self, operator: LinearOperator) -> Scheme:
        p, sizes = operator.size, self.blocks
        if isinstance(sizes, str):
            if not isinstance(operator, RowOperator):
                raise ValueError(
                    "blocks='layers' needs an operator made of gradients, got "
                    f"{type(operator).__name__}; pass the sizes as blocks=(...)"
                )
            return operator.scheme
        if isinstance(sizes, int):
            each, more = divmod(p, sizes)
            sizes = [each + 1] * more + [each] * (sizes - more)
        if sum(sizes) != p or min(sizes) < 1:
            raise ValueError(
                f"blocks must cut {p} dimensions into parts that are not empty, got {self.blocks!r}; "
                "use fewer blocks, or sizes that add up"
            )
        return Scheme.of_widths(sizes)


def _name(group: int) -> str:
    return f"matrix.{group:04d}"


def _factorised(matrix: Tensor, damping: float) -> Inverse:
    """Return b ↦ (C + λI)^-1 b for columns b: by Cholesky's factorisation, or LU if there is none."""
    damped = matrix.clone()
    damped.diagonal().add_(damping)
    factor, info = torch.linalg.cholesky_ex(damped)
    lu = torch.linalg.lu_factor_ex(damped)[:2] if int(info) else None

    def solve(b: Tensor) -> Tensor:
        return torch.cholesky_solve(b, factor) if lu is None else torch.linalg.lu_solve(*lu, b)

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
