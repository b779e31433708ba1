"""Gradients as vectors: whole, or projected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from headwater.gradients.gradients import Gradients
from headwater.projections import GradientProjection

__all__ = ["DenseGradients"]


class DenseGradients(Gradients):
    """One vector a sample.

    Args:
        vectors: (n, p).
        values: f_i at the samples, (n,); zeros if not given.
        blocks: how many columns belong to each layer, where they were projected layer by layer.

    Example:
        >>> g = DenseGradients(torch.eye(2))
        >>> g.inner(g).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self, vectors: Tensor, values: Tensor | None = None, blocks: tuple[int, ...] = ()
    ) -> None:
        if vectors.ndim != 2:
            raise ValueError(f"vectors must have shape (n, p), got {tuple(vectors.shape)}")
        self.vectors, self.blocks = vectors, blocks
        self.values = vectors.new_zeros(len(vectors)) if values is None else values

    @property
    def dimension(self) -> int:
        """The length of one vector."""
        return int(self.vectors.shape[1])

    def inner(self, other: Gradients) -> Tensor:
        """Return G Fᵀ, (n, m)."""
        if not isinstance(other, DenseGradients):
            return other.inner(self).T
        return self.vectors @ other.vectors.T

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,)."""
        return torch.einsum("np,np->n", self.vectors, self.vectors)

    def dense(self) -> Tensor:
        """Return the vectors, (n, p)."""
        return self.vectors

    def columns(self, slices: Sequence[slice]) -> DenseGradients:
        """Return the gradients of some of the parameters."""
        return DenseGradients(torch.cat([self.vectors[:, s] for s in slices], 1), self.values)

    def tensors(self) -> dict[str, Tensor]:
        """Return the vectors and the values."""
        return {"vectors": self.vectors, "values": self.values}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> DenseGradients:
        """Return gradients made of other tensors."""
        return DenseGradients(tensors["vectors"], tensors["values"], self.blocks)

    def project(self, projection: GradientProjection) -> DenseGradients:
        """Return P g_i, (n, k)."""
        return DenseGradients(projection(self.vectors), self.values)
