"""A low-rank inverse from a Krylov space: the Lanczos iteration (the field says Arnoldi)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator
from headwater.curvature.row_operator import BlockSource
from headwater.gradients import Gradients
from headwater.kernels import exact_products
from headwater.memory import check_memory
from headwater.solvers.damping import Damping, check_damping
from headwater.solvers.solver import (
    Solution,
    Solver,
    State,
    blocks_of,
    formed_blocks,
    relative_residuals,
)

__all__ = ["Lanczos", "krylov_basis", "largest_eigenvalue"]

log = logging.getLogger(__name__)
ROUNDING = 100.0
"""Eigenvalues and norms below this many times ε‖C‖ are rounding errors."""


@dataclass(frozen=True)
class Lanczos(Solver):
    """Invert C + λI on the leading directions of a Krylov space, and λI outside of it.

    (C + λI)^-1 b ≈ V (Λ + λI)^-1 Vᵀ b + (b - V Vᵀ b) / λ  with the Ritz pairs Λ, V of `krylov_basis`.
    Directions of negative curvature are left out of V, so that Λ + λI is positive for every λ; the
    second term then treats their eigenvalue as 0. With rank = p and C positive it is exact.
    Cost: `rank` products with one vector, whatever the number of right-hand sides and dampings.

    Args:
        damping: λ, absolute or relative; > 0, or >= 0 without the residual term.
        rank: k, products with C, and vectors at most.
        seed: of the random start vector.
        residual: whether the second term is added; without it, what lies outside of V is lost.

    Raises:
        ValueError: if an argument is out of range.

    Reference:
        Schioppa et al., Scaling Up Influence Functions, AAAI 2022.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> C = RowOperator.of(Gradients.of_vectors(torch.eye(2)), torch.tensor([1.0, 2.0]))
        >>> solver = Lanczos(damping=0.5, rank=2)  # C = diag(0.5, 2)
        >>> x = solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value
        >>> [round(float(v), 3) for v in x[0]]
        [1.0, 0.4]
    """

    damping: Damping
    rank: int
    seed: int = 0
    residual: bool = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_damping(self.damping, allow_zero=not self.residual)
        check_positive("rank", self.rank)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"eigenvalues": Λ (k,), "vectors": Vᵀ (k, p)}; they do not depend on the damping.

        Raises:
            MemoryError: if the vectors would not fit.
        """
        eigenvalues, vectors = krylov_basis(operator, self.rank, self.seed)
        return {"eigenvalues": eigenvalues, "vectors": vectors}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is the true one, at the cost of one product."""
        x = self.solution(operator, state, rhs)
        residual = relative_residuals(operator, self.shift, x, rhs)
        steps = torch.full((len(rhs),), len(state["eigenvalues"]), dtype=torch.int64)
        return Solution(x, residual, steps, residual < 1e-3)

    def inverse(self, operator: LinearOperator, state: State) -> Callable[[Tensor], Tensor]:
        """Return b ↦ V (Λ + λI)^-1 Vᵀ b + (b - V Vᵀ b) / λ."""

        def solved(rhs: Tensor) -> Tensor:
            check_shape("the right-hand sides", rhs, (None, operator.size))
            vectors = state["vectors"].to(rhs.dtype)
            inside = rhs @ vectors.T
            scaled = inside / (state["eigenvalues"] + self.shift).to(rhs.dtype)
            if not self.residual:
                return scaled @ vectors
            outside = rhs - inside @ vectors
            return outside.div_(self.shift).addmm_(scaled, vectors)

        return solved

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return the solutions without their residuals, whose product would cost more than they do.

        Without the residual term they stay in k dimensions: {"basis": V (k, p), "coefficients":
        (Λ + λI)^-1 V f_j (m, k)}, and scores cost k inner products per sample instead of m.
        """
        if self.residual:
            inverse = self.inverse(operator, state)
            return {"vectors": torch.cat([inverse(f) for f in formed_blocks(test)])}
        inside = test.inner_vectors(state["vectors"]).double()
        return {
            "basis": state["vectors"],
            "coefficients": inside / (state["eigenvalues"] + self.shift),
        }

    def score(self, train: Gradients, rows: slice, solved: State) -> Tensor:
        """Return ⟨g_i, x_j⟩, (b, m)."""
        if "basis" not in solved:
            return super().score(train, rows, solved)
        inside = train.inner_vectors(solved["basis"])
        return inside @ solved["coefficients"].T.to(inside.dtype)

    def quadratic(
        self, operator: LinearOperator, state: State, train: Gradients | BlockSource, power: int
    ) -> Tensor:
        """Return c_iᵀ (Λ + λI)^-power c_i + (‖g_i‖² - ‖c_i‖²) / λ^power with c_i = V g_i, (n,)."""
        found = []
        for block in blocks_of(train):
            inside = block.inner_vectors(state["vectors"]).double().square()
            total = inside @ (state["eigenvalues"] + self.shift) ** -power
            if self.residual:
                total += (block.squared_norms() - inside.sum(1)) / self.shift**power
            found.append(total)
        return torch.cat(found)


def krylov_basis(operator: LinearOperator, rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the eigenpairs of C on the Krylov space of a random vector, positive ones only.

    The rows of V are orthonormal, V C Vᵀ = Λ; as a projection, P = Λ^(-1/2) V gives
    ⟨P g, P f⟩ = gᵀ C⁺ f on that space. Every new vector is made orthogonal to all others (twice). An
    invariant space is left by a new random vector, so that repeated eigenvalues are found as well.

    Args:
        operator: C, (p, p).
        rank: products with C; more than p are never needed.
        seed: of the start vector; it is the same on every device.

    Returns:
        eigenvalues (k,) in float64, the largest first, and vectors (k, p), k ≤ rank: eigenvalues that
        are zero to rounding are left out, and negative ones as well (logged).

    Raises:
        MemoryError: if the vectors would not fit.
        ValueError: if a product with C is not finite.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> C = RowOperator.of(Gradients.of_vectors(torch.eye(3)[:2]), torch.tensor([1.0, 2.0]))
        >>> [round(float(v), 3) for v in krylov_basis(C, rank=3)[0]]  # diag(0.5, 2, 0)
        [2.0, 0.5]
    """
    values, vectors = _ritz_pairs(operator, rank, seed)
    rounding = ROUNDING * torch.finfo(operator.dtype).eps * float(values.abs().max())
    negative = values[values < -rounding]
    if len(negative):
        log.warning(
            "%d of %d directions have negative curvature (down to %.3g) and are left out; "
            "the exact Hessian away from a minimum has them, a Gauss-Newton matrix has not",
            len(negative),
            len(values),
            float(negative.min()),
        )
    kept = values > rounding
    return values[kept].contiguous(), vectors[kept].contiguous()


def largest_eigenvalue(operator: LinearOperator, products: int = 10, seed: int = 0) -> float:
    """Return the largest |eigenvalue| of C, from below, to a few per cent after ten products."""
    return float(_ritz_pairs(operator, products, seed)[0].abs().max())


def _ritz_pairs(operator: LinearOperator, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return all eigenpairs of C on the Krylov space, the largest first: (k,) and (k, p)."""
    rank, p = min(rank, operator.size), operator.size
    check_memory(
        f"a Krylov space of {rank} vectors of {p:,} parameters",
        2 * rank * p * (torch.finfo(operator.dtype).bits // 8),
        "use a lower rank, or restrict the task with layers=",
        operator.device,
    )
    generator = torch.Generator().manual_seed(seed)
    basis = torch.zeros(rank, p, dtype=operator.dtype, device=operator.device)
    diagonal, above, largest = [0.0] * rank, [0.0] * rank, 0.0
    count, started = 0, True
    basis[0] = _random_unit(basis[:0], generator)
    while True:
        product = operator.apply(basis[count : count + 1])[0]
        if not bool(torch.isfinite(product.sum())) and not bool(torch.isfinite(product).all()):
            raise ValueError(
                f"products with the curvature must be finite, got NaN or infinity in number {count + 1} "
                "of a Krylov space; look for a function in the model or the loss whose second "
                "derivative is infinite, such as a square root or a norm at 0"
            )
        diagonal[count] = float((product * basis[count]).sum(dtype=torch.float64))
        largest = max(largest, float(product.norm()))
        count += 1
        if count == rank:
            break
        rest = _orthogonal(product, basis[:count])
        norm, rounding = float(rest.norm()), ROUNDING * torch.finfo(rest.dtype).eps * largest
        if norm > rounding:
            above[count] = norm
            basis[count] = _unit(_orthogonal(rest / norm, basis[:count]))
            started = False
        elif started and abs(diagonal[count - 1]) <= rounding:
            break  # a random vector of the complement has no curvature: nothing has
        else:
            basis[count] = _random_unit(basis[:count], generator)
            started = True
    off = torch.diag(torch.tensor(above[1:count], dtype=torch.float64), 1)
    values, small = torch.linalg.eigh(
        torch.diag(torch.tensor(diagonal[:count], dtype=torch.float64)) + off + off.T
    )
    small = small.flip(1).T.to(basis.device, basis.dtype)
    with exact_products():
        return values.flip(0).to(basis.device), small @ basis[:count]


def _random_unit(basis: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random unit vector orthogonal to the rows of basis."""
    drawn = torch.randn(basis.shape[1], generator=generator, dtype=torch.float64)
    unit = _unit(drawn.to(basis.device, basis.dtype))
    return _unit(_orthogonal(_unit(_orthogonal(unit, basis)), basis))


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """Return the part of a vector that is orthogonal to orthonormal rows; twice is enough."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()
