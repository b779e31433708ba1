"""A low-rank inverse from a Krylov space: the Lanczos iteration (the field says Arnoldi)."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import LinearOperator
from headwater.curvature.row_operator import BlockSource
from headwater.gradients import Gradients
from headwater.kernels import exact_products
from headwater.memory import Cost, Sizes, check_memory
from headwater.solvers.damping import Damping, check_damping
from headwater.solvers.solver import DirectSolver, Inverse, Solution, State, with_residual

log = logging.getLogger(__name__)
ROUNDING = 100.0
"""Eigenvalues and norms below this many times ε‖C‖ are rounding errors."""


@dataclass(frozen=True)
class Lanczos(DirectSolver):
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

    Reference:
        Schioppa et al., Scaling Up Influence Functions, AAAI 2022.
    """

    damping: Damping
    rank: int
    seed: int = 0
    residual: bool = True

    def __post_init__(self) -> None:
        check_damping(self.damping, allow_zero=not self.residual)
        check_positive("rank", self.rank)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"eigenvalues": Λ (k,), "vectors": Vᵀ (k, p)}."""
        found = krylov_basis(operator, self.rank, self.seed)
        return dict(zip(("eigenvalues", "vectors"), found, strict=True))

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is the true one, at the cost of one product."""
        x, k = self.inverse(operator, state)(rhs), len(state["eigenvalues"])
        return with_residual(operator.apply(x), self.shift, x, rhs, k)

    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
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
        """Return {"vectors"}, the solutions; without the residual term they stay in k dimensions.

        {"basis": Vᵀ (k, p), "coefficients": (Λ + λI)^-1 Vᵀ f_j (m, k)} let scores cost k inner products
        per sample instead of m.
        """
        if self.residual:
            return super().solve_gradients(operator, state, test)
        inside = test.inner_vectors(state["vectors"]).double()
        coefficients = inside / (state["eigenvalues"] + self.shift)
        return {"basis": state["vectors"], "coefficients": coefficients}

    def score(self, train: Gradients, rows: slice, solved: State) -> Tensor:
        """Return ⟨g_i, x_j⟩, (b, m)."""
        if "basis" not in solved:
            return super().score(train, rows, solved)
        inside = train.inner_vectors(solved["basis"])
        return inside @ solved["coefficients"].T.to(inside.dtype)

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of the basis, two copies of it, and of the solutions."""
        m, p = sizes.m, sizes.p
        return Cost(8 * (m + self.rank) * p, self.rank * sizes.product, 4 * m * p)

    def quadratic(
        self, operator: LinearOperator, state: State, source: BlockSource, power: int
    ) -> Tensor:
        """Return c_iᵀ (Λ + λI)^-power c_i + (‖g_i‖² - ‖c_i‖²) / λ^power with c_i = Vᵀ g_i, (n,)."""
        found = []
        for block in source.train_blocks():
            inside = block.inner_vectors(state["vectors"]).double().square()
            total = inside @ (state["eigenvalues"] + self.shift) ** -power
            if self.residual:
                total += (block.squared_norms() - inside.sum(1)) / self.shift**power
            found.append(total)
        return torch.cat(found)


def krylov_basis(operator: LinearOperator, rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return eigenpairs of C on the Krylov space of a random vector: Λ (k,) in float64, Vᵀ (k, p).

    The largest come first; those that are zero to rounding or negative (logged) are left out. VᵀV = I
    and Vᵀ C V = Λ. Every new vector is made orthogonal to all others, twice. An invariant space is left
    by a new random one, so that repeated eigenvalues are found as well.

    Args:
        operator: C, (p, p).
        rank: products with C, k at most; more than p are never needed.
        seed: of the start vector; it is the same on every device.

    Raises:
        MemoryError: if the vectors would not fit.
        ValueError: if a product with C is not finite.
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
    what = f"a Krylov space of {rank} vectors of {p:,} parameters"
    advice = "use a lower rank, or restrict the task with layers="
    check_memory(what, 2 * rank * p * operator.dtype.itemsize, advice, operator.device)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.zeros(rank, p, dtype=operator.dtype, device=operator.device)
    diagonal, above, largest, started = list[float](), list[float](), 0.0, True
    basis[0] = _random_unit(basis[:0], generator)
    for count in range(1, rank + 1):
        product = operator.apply(basis[count - 1 : count])[0]
        if not bool(torch.isfinite(product).all()):
            raise ValueError(
                f"products with the curvature must be finite, got NaN or infinity in number {count} "
                "of a Krylov space; look for a function in the model or the loss whose second "
                "derivative is infinite, such as a square root or a norm at 0"
            )
        diagonal.append(float((product * basis[count - 1]).sum(dtype=torch.float64)))
        largest = max(largest, float(product.norm()))
        if count == rank:
            break
        rest = _orthogonal(product, basis[:count])
        norm, rounding = float(rest.norm()), ROUNDING * torch.finfo(rest.dtype).eps * largest
        if norm > rounding:
            above.append(norm)
            basis[count] = _unit(_orthogonal(rest / norm, basis[:count]))
            started = False
        elif started and abs(diagonal[-1]) <= rounding:
            break  # a random vector of the complement has no curvature: nothing has
        else:
            above.append(0.0)
            basis[count] = _random_unit(basis[:count], generator)
            started = True
    middle, off = (
        torch.tensor(d, dtype=torch.float64).diag(k) for k, d in ((0, diagonal), (1, above))
    )
    values, small = torch.linalg.eigh(middle + off + off.T)
    small = small.flip(1).T.to(basis.device, basis.dtype)
    with exact_products():
        return values.flip(0).to(basis.device), small @ basis[: len(diagonal)]


def _random_unit(basis: Tensor, generator: torch.Generator) -> Tensor:
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
