"""The exact damped inverse of K-FAC and EK-FAC, in their own eigenbasis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import (
    EIGENBASIS,
    KroneckerBlock,
    KroneckerOperator,
    LinearOperator,
    rotate,
)
from headwater.gradients import FactoredGradients, Gradients, LinearFactors
from headwater.solvers.solver import Solution, Solver, State, direct_solution

__all__ = ["Eigenbasis"]

WORKSPACE = 2**25
"""Numbers that the gradients of one chunk of samples may hold."""
CACHE = 2**23
"""Numbers of an intermediate product: large enough for full GEMMs, small enough for the cache."""
FEW = 8
"""Test samples are few where an input has more than this many times as many directions."""


@dataclass(frozen=True)
class Eigenbasis(Solver):
    """Solve with C = Q diag(Λ) Qᵀ: (C + λI)^-1 = Q diag(1/(Λ + λ)) Qᵀ, exactly.

    For scores no vector is rotated back: ⟨g_i, (C + λI)^-1 f_j⟩ = Σ_kl g̃_i,kl f̃_j,kl / (Λ_kl + λ) with
    g̃ = Q_Sᵀ g Q_A made of rotated factors. Directions in which Λ is below the rounding error of λ
    (dead pixels, dead units, the null spaces of softmax) all have the weight 1/λ: their part of the
    sum needs inner products of factors only, and no gradient is formed there.
    Cost: n·m·r_S·r_A multiply-adds a layer, r the numbers of directions that matter to λ.

    Args:
        damping: λ > 0, absolute.

    Raises:
        ValueError: if the damping is not positive.

    Example:
        >>> from headwater.curvature import KroneckerOperator
        >>> from headwater.gradients import GradientScheme
        >>> from headwater.parameters import ParameterLayout
        >>> scheme = GradientScheme(ParameterLayout((("scale", (2,)),)), ())
        >>> C = KroneckerOperator(scheme, (), torch.tensor([1.0, 3.0]))  # a diagonal only
        >>> Eigenbasis(damping=1.0).solve(C, {}, torch.ones(1, 2)).value.tolist()
        [[0.5, 0.25]]
    """

    damping: float
    asks: ClassVar[frozenset[str]] = frozenset({EIGENBASIS})

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("damping", self.damping)

    def prepare(self, operator: LinearOperator) -> State:
        """Return nothing: the operator is its own eigendecomposition.

        Raises:
            TypeError: if the operator has no eigenbasis.
        """
        _kronecker(operator)
        return {}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; the residual is the true one, at the cost of one product."""
        x = self.values(operator, state, rhs)
        return direct_solution(operator, self.damping, x, rhs)

    def values(self, operator: LinearOperator, state: State, rhs: Tensor) -> Tensor:
        """Return the solution for each row of rhs, without its residual."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        return _kronecker(operator).inverse_apply(rhs, self.damping)

    def precondition(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return what `inner` needs, a layer: bases, rotated test factors, and f̃/(Λ + λ).

        Raises:
            ValueError: if the test gradients have other layers than the operator.
        """
        known = _kronecker(operator)
        test = _factored(test, known)
        solved = {"rest": test.rest / (known.diagonal + self.damping)}
        for block, factors in zip(known.blocks, test.layers, strict=True):
            name = block.layer.name
            rotated = rotate(factors, block.inputs, block.errors)
            rows, columns = self._reach(block)
            near = LinearFactors(rotated.inputs[..., :columns], rotated.errors[..., :rows], False)
            weights = 1.0 / (block.eigenvalues[:rows, :columns] + self.damping)
            solved[f"{name}.vectors"] = near.dense().view(len(test), rows, columns).mul_(weights)
            solved[f"{name}.inputs"], solved[f"{name}.errors"] = rotated.inputs, rotated.errors
            solved[f"{name}.inputs_basis"], solved[f"{name}.errors_basis"] = (
                block.inputs,
                block.errors,
            )
        return solved

    def inner(self, train: Gradients, rows: slice, scale: Tensor, solved: State) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 f_j⟩, (b, m), for one block of training gradients."""
        names = {key.removesuffix(".vectors") for key in solved if key.endswith(".vectors")}
        if not isinstance(train, FactoredGradients) or names != {
            x.name for x in train.scheme.layers
        }:
            raise ValueError(_other_layers(train))
        total = train.rest @ solved["rest"].T
        for name, factors in zip((x.name for x in train.scheme.layers), train.layers, strict=True):
            mine = rotate(factors, solved[f"{name}.inputs_basis"], solved[f"{name}.errors_basis"])
            theirs = LinearFactors(solved[f"{name}.inputs"], solved[f"{name}.errors"], False)
            self._add_inner(mine, theirs, solved[f"{name}.vectors"], total)
        return total

    def _add_inner(
        self, mine: LinearFactors, theirs: LinearFactors, vectors: Tensor, total: Tensor
    ) -> None:
        """Add Σ_kl g̃_kl f̃_kl/(Λ_kl + λ): near the origin of (k, l) in full, 1/λ beyond."""
        r, c = vectors.shape[1:]
        beyond = torch.zeros_like(total)
        _cut(mine, slice(r, None), slice(None)).add_inner(
            _cut(theirs, slice(r, None), slice(None)), beyond
        )
        _cut(mine, slice(0, r), slice(c, None)).add_inner(
            _cut(theirs, slice(0, r), slice(c, None)), beyond
        )
        total.add_(beyond, alpha=1.0 / self.damping)
        _add_near(_cut(mine, slice(0, r), slice(0, c)), vectors, total)

    def _reach(self, block: KroneckerBlock) -> tuple[int, int]:
        """Return how many rows and columns of Λ hold the entries that change λ by rounding."""
        large = block.eigenvalues > 0.5 * torch.finfo(block.eigenvalues.dtype).eps * self.damping
        last = [large.any(1 - dim).nonzero() for dim in (0, 1)]
        rows, columns = (int(found[-1]) + 1 if len(found) else 0 for found in last)
        return rows, columns

    def self_inner(self, operator: LinearOperator, state: State, train: Gradients) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 g_i⟩ = Σ_kl g̃_i,kl²/(Λ_kl + λ), (n,)."""
        return self._weighted_squares(operator, train, 1)

    def squared_solution_norms(
        self, operator: LinearOperator, state: State, train: Gradients
    ) -> Tensor:
        """Return ‖(C + λI)^-1 g_i‖² = Σ_kl g̃_i,kl²/(Λ_kl + λ)², (n,)."""
        return self._weighted_squares(operator, train, 2)

    def _weighted_squares(self, operator: LinearOperator, train: Gradients, power: int) -> Tensor:
        known = _kronecker(operator)
        train = _factored(train, known)
        weights = (known.diagonal.double() + self.damping) ** -power
        total = train.rest.double().square() @ weights
        for block, factors in zip(known.blocks, train.layers, strict=True):
            weights = (block.eigenvalues.double() + self.damping) ** -power
            total += _squares(rotate(factors, block.inputs, block.errors), weights)
        return total


def _add_near(factors: LinearFactors, vectors: Tensor, total: Tensor) -> None:
    """Add Σ_kl ẽ_i,k ã_i,l x_j,kl for vectors x (m, r, c), by the route that is in cache."""
    (n, positions, c), (m, r, _) = factors.inputs.shape, vectors.shape
    if positions > 1:
        total += factors.inner_dense(vectors.flatten(1))
        return
    a, e = factors.inputs[:, 0], factors.errors[:, 0]
    if FEW * m < c:  # Σ_k ẽ_k (Σ_l ã_l x_kl): m·r numbers a sample
        columns, step = vectors.flatten(0, 1).T, max(1, CACHE // max(1, m * r))
        for i in range(0, n, step):
            products = (a[i : i + step] @ columns).view(-1, m, r)
            total[i : i + step] += (products @ e[i : i + step].unsqueeze(2)).squeeze(2)
        return
    scaled = torch.empty_like(a)
    for k in range(r):  # Σ_k (Σ_l (ẽ_k ã_l) x_kl): one row of all gradients after the other
        torch.mul(a, e[:, k : k + 1], out=scaled)
        total.addmm_(scaled, vectors[:, k].T)


def _squares(rotated: LinearFactors, weights: Tensor) -> Tensor:
    """Return Σ_kl weights_kl g̃_i,kl², (n,) in float64."""
    if rotated.inputs.shape[1] == 1:  # the square of an outer product: no gradient is formed
        errors, inputs = rotated.errors[:, 0].double(), rotated.inputs[:, 0].double()
        return ((errors.square() @ weights) * inputs.square()).sum(1)
    step, n = max(1, WORKSPACE // max(1, rotated.width)), len(rotated.inputs)
    chunks = [rotated[i : i + step].dense().double().square() for i in range(0, n, step)]
    return torch.cat([chunk @ weights.flatten() for chunk in chunks])


def _cut(factors: LinearFactors, errors: slice, inputs: slice) -> LinearFactors:
    return LinearFactors(factors.inputs[..., inputs], factors.errors[..., errors], False)


def _kronecker(operator: LinearOperator) -> KroneckerOperator:
    if not isinstance(operator, KroneckerOperator):
        raise TypeError(
            "Eigenbasis needs an operator with an eigenbasis of its own (KroneckerOperator), "
            f"got {type(operator).__name__}; use Explicit or ConjugateGradient for it"
        )
    return operator


def _factored(gradients: Gradients, operator: KroneckerOperator) -> FactoredGradients:
    if not isinstance(gradients, FactoredGradients) or gradients.scheme != operator.scheme:
        raise ValueError(_other_layers(gradients))
    return gradients


def _other_layers(gradients: Gradients) -> str:
    return (
        "Eigenbasis needs gradients factored in the layers of the curvature, got "
        f"{type(gradients).__name__} of others; capture both with the same model and layers"
    )
