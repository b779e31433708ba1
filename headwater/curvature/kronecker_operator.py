"""A block-diagonal matrix with one Kronecker eigenbasis per group of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from headwater.curvature.operator import LinearOperator
from headwater.gradients import Dense, Matrix, Scheme, Term

PREFIX = "kronecker."


@dataclass(frozen=True)
class _Basis:
    """The linear map x ↦ Qᵀx, with the columns of Q (d, k) as its directions: a `LinearMap`."""

    directions: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.directions

    def units(self, index: Tensor, size: int) -> Tensor:
        return self.directions[index]


@dataclass(frozen=True)
class KroneckerBlock:
    """The curvature Q diag(Λ) Qᵀ of one group, with Q = Q_S ⊗ Q_A where it is a weight matrix.

    Args:
        eigenvalues: Λ, (d_out, d_in (+ 1)); (width,), a diagonal, where the group is no matrix.
        matrix: the shape of the weight; None: the group is no matrix.
        inputs: Q_A, one eigenvector per column, the bias last; None: the identity.
        outputs: Q_S, (d_out, d_out); None: the identity.
    """

    eigenvalues: Tensor
    matrix: Matrix | None = None
    inputs: Tensor | None = None
    outputs: Tensor | None = None

    def rotate(self, term: Term) -> Term:
        """Return Q_Sᵀ G_i Q_A of the gradient matrices G_i, made of rotated factors."""
        if self.matrix is None:
            return term
        if term.matrix is None:  # vectors do not say which matrix they are
            term = Dense(term.dense(), self.matrix)
        sides = (None if q is None else _Basis(q) for q in (self.inputs, self.outputs))
        return term.two_sided(*sides)

    def multiply(self, vectors: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return Q f(Λ) Qᵀ v for each of vectors (m, width)."""
        if self.matrix is None:
            return vectors * function(self.eigenvalues)
        q_a, q_s = self.inputs, self.outputs
        inside = self.matrix.matrices(vectors)
        inside = inside if q_a is None else inside @ q_a
        inside = inside if q_s is None else q_s.T @ inside
        inside = inside * function(self.eigenvalues)
        inside = inside if q_s is None else q_s @ inside
        return self.matrix.vectors(inside if q_a is None else inside @ q_a.T)


class KroneckerOperator(LinearOperator):
    """C = Q diag(Λ) Qᵀ, one block per group of parameters."""

    def __init__(self, scheme: Scheme, blocks: tuple[KroneckerBlock, ...]) -> None:
        self.scheme, self.blocks, self.size = scheme, blocks, scheme.layout.size
        self.dtype, self.device = blocks[0].eigenvalues.dtype, blocks[0].eigenvalues.device

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], scheme: Scheme) -> KroneckerOperator:
        """Return the operator that `tensors` were taken of, for gradients of the same scheme."""
        blocks = []
        for name in scheme.names:
            parts = [tensors.get(f"{PREFIX}{name}.{part}") for part in ("inputs", "outputs")]
            shape = tensors.get(f"{PREFIX}{name}.matrix")
            matrix = None if shape is None else Matrix(*shape.tolist())
            blocks.append(KroneckerBlock(tensors[f"{PREFIX}{name}.eigenvalues"], matrix, *parts))
        return cls(scheme, tuple(blocks))

    def tensors(self) -> dict[str, Tensor]:
        """Return ``kronecker.<group>.eigenvalues``, ``.inputs``, ``.outputs`` and ``.matrix``."""
        found: dict[str, Tensor] = {}
        for name, block in zip(self.scheme.names, self.blocks, strict=True):
            shape = None if block.matrix is None else torch.tensor(astuple(block.matrix))
            parts = {**vars(block), "matrix": shape}
            found |= {f"{PREFIX}{name}.{k}": t for k, t in parts.items() if t is not None}
        return found

    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v, (m, p)."""
        return self._spectral(rows, lambda eigenvalues: eigenvalues)

    def inverse_apply(self, rows: Tensor, damping: float) -> Tensor:
        """Return (C + λI)^-1 v for each row v, (m, p): exact, at the price of a product."""
        return self._spectral(rows, lambda eigenvalues: 1.0 / (eigenvalues + damping))

    def trace(self, probes: int = 0) -> float:
        """Return tr C = Σ Λ, exactly."""
        return float(sum(b.eigenvalues.sum(dtype=torch.float64) for b in self.blocks))

    def _spectral(self, rows: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return Q f(Λ) Qᵀ v for each row v."""
        parts = [
            block.multiply(self.scheme.take(rows, group), function)
            for group, block in enumerate(self.blocks)
        ]
        return self.scheme.join(parts)
