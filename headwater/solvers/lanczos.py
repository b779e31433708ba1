"""A low-rank inverse from a Krylov space: the Lanczos iteration (the field says Arnoldi)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_finite, check_positive, check_shape
from headwater.curvature import LinearOperator
from headwater.gradients import DenseGradients, Gradients
from headwater.memory import check_memory
from headwater.solvers.solver import Solution, Solver, State, relative_residuals

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
        damping: λ, absolute; > 0, or >= 0 without the residual term.
        rank: k, products with C, and vectors at most.
        seed: of the random start vector.
        residual: whether the second term is added; without it, what lies outside of V is lost.

    Raises:
        ValueError: if an argument is out of range.

    Reference:
        Schioppa et al., Scaling Up Influence Functions, AAAI 2022.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> from headwater.gradients import DenseGradients
        >>> C = RowOperator(DenseGradients(torch.eye(2)), torch.tensor([1.0, 2.0]))  # diag(0.5, 2)
        >>> solver = Lanczos(damping=0.5, rank=2)
        >>> x = solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value
        >>> [round(float(v), 3) for v in x[0]]
        [1.0, 0.4]
    """

    damping: float
    rank: int
    seed: int = 0
    residual: bool = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("damping", self.damping, allow_zero=not self.residual)
        check_positive("rank", self.rank)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"values": Λ (k,), "vectors": Vᵀ (k, p)}; they do not depend on the damping.

        Raises:
            MemoryError: if the vectors would not fit.
        """
        values, vectors = krylov_basis(operator, self.rank, self.seed)
        return {"values": values, "vectors": vectors}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is the true one, at the cost of one product."""
        x = self.values(operator, state, rhs)
        residual = relative_residuals(operator, self.damping, x, rhs)
        steps = torch.full((len(rhs),), len(state["values"]), dtype=torch.int64)
        return Solution(x, residual, steps, residual < 1e-3)

    def precondition(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return the solutions without their residuals, whose product would cost more than they do.

        Without the residual term they stay in k dimensions: {"vectors": V (k, p), "coefficients":
        (Λ + λI)^-1 V f_j (m, k)}, and scores cost k inner products a sample instead of m.
        """
        if self.residual:
            return {"vectors": self.values(operator, state, test.dense())}
        inside = test.inner(DenseGradients(state["vectors"])).to(torch.float64)
        return {
            "vectors": state["vectors"],
            "coefficients": inside / (state["values"] + self.damping),
        }

    def inner(self, train: Gradients, rows: slice, scale: Tensor, solved: State) -> Tensor:
        """Return ⟨g_i, x_j⟩, (b, m)."""
        products = train.inner(DenseGradients(solved["vectors"]))
        if "coefficients" not in solved:
            return products
        return products @ solved["coefficients"].T.to(products.dtype)

    def self_inner(self, operator: LinearOperator, state: State, train: Gradients) -> Tensor:
        """Return c_iᵀ (Λ + λI)^-1 c_i + (‖g_i‖² - ‖c_i‖²) / λ with c_i = V g_i, (n,)."""
        return self._squares(state, train, power=1)

    def squared_solution_norms(
        self, operator: LinearOperator, state: State, train: Gradients
    ) -> Tensor:
        """Return c_iᵀ (Λ + λI)^-2 c_i + (‖g_i‖² - ‖c_i‖²) / λ², (n,)."""
        return self._squares(state, train, power=2)

    def _squares(self, state: State, train: Gradients, power: int) -> Tensor:
        inside = train.inner(DenseGradients(state["vectors"])).to(torch.float64).square()
        total = inside @ (state["values"] + self.damping) ** -power
        if self.residual:
            total += (train.squared_norms() - inside.sum(1)) / self.damping**power
        return total

    def values(self, operator: LinearOperator, state: State, rhs: Tensor) -> Tensor:
        """Return the solution for each row of rhs, without its residual."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        vectors = state["vectors"].to(rhs.dtype)
        inside = rhs @ vectors.T
        inverse = (1.0 / (state["values"] + self.damping)).to(rhs.dtype)
        if not self.residual:
            return (inside * inverse) @ vectors
        outside = rhs - inside @ vectors
        return outside.div_(self.damping).addmm_(inside * inverse, vectors)


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
        values (k,) in float64, falling, and vectors (k, p), k ≤ rank: eigenvalues that are zero to
        rounding are left out, and negative ones as well (logged).

    Raises:
        MemoryError: if the vectors would not fit.

    Example:
        >>> from headwater.curvature import RowOperator
        >>> from headwater.gradients import DenseGradients
        >>> C = RowOperator(DenseGradients(torch.eye(3)[:2]), torch.tensor([1.0, 2.0]))
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
    """Return all eigenpairs of C on the Krylov space, falling: (k,) and (k, p)."""
    rank, p = min(rank, operator.size), operator.size
    check_memory(
        f"a Krylov space of {rank} vectors of {p:,} parameters",
        2 * rank * p * (torch.finfo(operator.dtype).bits // 8),
        "use a lower rank, or restrict the task with layers=",
        operator.device,
    )
    generator = torch.Generator().manual_seed(seed)
    basis = torch.zeros(rank, p, dtype=operator.dtype, device=operator.device)
    diagonal, beside, largest = [0.0] * rank, [0.0] * rank, 0.0
    count, started = 0, True
    basis[0] = _random_unit(basis[:0], generator)
    while True:
        product = operator.apply(basis[count : count + 1])[0]
        check_finite("a product with the curvature", product[None])
        diagonal[count] = float((product * basis[count]).sum(dtype=torch.float64))
        largest = max(largest, float(product.norm()))
        count += 1
        if count == rank:
            break
        rest = _orthogonal(product, basis[:count])
        norm, rounding = float(rest.norm()), ROUNDING * torch.finfo(rest.dtype).eps * largest
        if norm > rounding:
            beside[count] = norm
            basis[count] = _unit(_orthogonal(rest / norm, basis[:count]))
            started = False
        elif started and abs(diagonal[count - 1]) <= rounding:
            break  # a random vector of the complement has no curvature: nothing has
        else:
            basis[count] = _random_unit(basis[:count], generator)
            started = True
    off = torch.diag(torch.tensor(beside[1:count], dtype=torch.float64), 1)
    values, small = torch.linalg.eigh(
        torch.diag(torch.tensor(diagonal[:count], dtype=torch.float64)) + off + off.T
    )
    small = small.flip(1).T.to(basis.device, basis.dtype)
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
