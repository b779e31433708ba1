"""Gradients that are kept formed: whatever no other form makes smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwater.gradients.matrix import Matrix
from headwater.gradients.term import LinearMap, Term

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class Dense(Term):
    """One vector per sample: norms, scalars, small layers, projected gradients.

    Args:
        vectors: g_i, (n, width).
        matrix: the shape of the weight, where the vectors are the gradients of one (and its bias).
    """

    vectors: Tensor
    matrix: Matrix | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """Numbers in one gradient."""
        return int(self.vectors.shape[1])

    def dense(self) -> Tensor:
        """Return the vectors."""
        return self.vectors

    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add ⟨g_i, g'_j⟩ to out (n, m)."""
        if isinstance(other, Dense):
            out.addmm_(self.vectors, other.vectors.T)
        else:  # the other form knows how it meets vectors
            out += other.inner_vectors(self.vectors).T

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return ⟨g_i, v_j⟩, (n, m)."""
        return self.vectors @ vectors.T

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop."""
        return self.vectors[:, start:stop]

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns at coordinates (k,)."""
        return self.vectors[:, coordinates]

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,)."""
        return torch.einsum("np,np->n", self.vectors, self.vectors)

    def tensors(self) -> dict[str, Tensor]:
        """Return {"columns": the vectors}."""
        return {"columns": self.vectors}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Dense:
        """Return the same kind of term made of other tensors."""
        return Dense(tensors["columns"], self.matrix)

    def form(self) -> dict[str, Any]:
        """Return {"kind": "dense", "matrix": ...}."""
        m = self.matrix
        shape = None if m is None else [m.d_out, m.d_in, m.bias, m.transposed]
        return {"kind": "dense", "matrix": shape}

    def formed(self) -> Dense:
        """Return this term."""
        return self

    def plus(self, other: Term) -> Dense:
        """Return the sums of the vectors."""
        return Dense(self.vectors + other.dense(), self.matrix)

    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Dense:
        """Return L_out G_i L_inᵀ, (n, k_out · k_in)."""
        if self.matrix is None:
            raise ValueError(
                f"two-sided maps need the gradients of a weight matrix, got vectors of {self.width} "
                "numbers without rows and columns; use a projection of the whole gradient"
            )
        found = self.matrix.matrices(self.vectors)
        if inputs is not None:
            found = inputs(found)
        if outputs is not None:
            found = outputs(found.mT).mT
        k_out, k_in = int(found.shape[1]), int(found.shape[2])
        # Stored as before where inputs stay as they are: so does a table, which has one order only.
        shape = Matrix(k_out, k_in, transposed=inputs is None and self.matrix.transposed)
        return Dense(shape.vectors(found), shape)
