"""What the gradients of one group of parameters can do, in whatever form they are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from headwater.gradients.matrix import Matrix
from headwater.memory import LARGE, row_blocks

__all__ = ["LinearMap", "Moments", "Term", "blocks_of"]


class LinearMap(Protocol):
    """A linear map of the last dimension, as one side of a projection or of a change of basis."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the images of x (..., d), shape (..., k)."""

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the images of unit vectors of length `size`, (..., k) for index (...)."""


class Moments(NamedTuple):
    """Sums over samples and positions that Kronecker factors are made of, in float64.

    Args:
        inputs: Σ a aᵀ, (d_in (+ 1), d_in (+ 1)); one-hot inputs: its diagonal, (d_in,).
        outputs: Σ e eᵀ, (d_out, d_out).
        positions: how many there are.
    """

    inputs: Tensor
    outputs: Tensor
    positions: int


class Term(ABC):
    """The gradients (n, width) of one group of parameters for n samples.

    Terms of one group can be mixed: any form works with any other.
    """

    matrix: Matrix | None
    """The shape of the weight, where the parameters are a weight matrix (and its bias)."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples n."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers in one formed gradient."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return the gradients, formed, (n, width)."""

    @abstractmethod
    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add ⟨g_i, g'_j⟩ over this group to out (n, m), by the cheapest exact route."""

    @abstractmethod
    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return ⟨g_i, v_j⟩ for vectors (m, width), shape (n, m)."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what a store must keep; every tensor has the sample as its first dimension."""

    @abstractmethod
    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return the same kind of term made of other tensors (the inverse of `tensors`)."""

    @abstractmethod
    def form(self) -> dict[str, Any]:
        """Return all but the tensors, as JSON can keep it; see `headwater.gradients.forms`."""

    @abstractmethod
    def plus(self, other: Term) -> Term:
        """Return g_i + g'_i: the same parameters used twice."""

    @abstractmethod
    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Term:
        """Return L_out G_i L_inᵀ of the gradient matrices G_i (d_out, d_in (+ 1)); None: identity.

        Raises:
            ValueError: if the parameters are no weight matrix.
        """

    def moments(self, reduce: bool = False) -> Moments | None:
        """Return the second moments of inputs and output gradients; None: these are not kept.

        Args:
            reduce: whether positions are summed first ("reduce"), or count as samples ("expand").
        """
        return None

    def to(self, dtype: torch.dtype) -> Self:
        """Return the gradients in another dtype; themselves if it is theirs."""
        if dtype == self.dtype:
            return self
        parts = self.tensors().items()
        return self.with_tensors(
            {name: t.to(dtype) if t.is_floating_point() else t for name, t in parts}
        )

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Return the gradients of some of the samples."""
        return self.with_tensors({name: t[rows] for name, t in self.tensors().items()})

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`, (n, stop - start)."""
        return torch.cat([part.dense()[:, start:stop] for part in blocks_of(self)])

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns of `dense` at coordinates (k,), shape (n, k)."""
        return torch.cat([part.dense()[:, coordinates] for part in blocks_of(self)])

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,)."""
        return torch.cat([part.dense().square().sum(1) for part in blocks_of(self)])

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Return Σ_kl weights_kl G_i,kl² for weights (d_out, d_in (+ 1)), (n,) in float64."""
        parts = [part.squares().double() for part in blocks_of(self)]
        return torch.cat([squares @ weights.double().flatten() for squares in parts])

    def sum_of_squares(self) -> Tensor:
        """Return Σ_i G_i², entry by entry, (d_out · d_in (+ d_out),) in float64."""
        total = torch.zeros((), dtype=torch.float64)
        for part in blocks_of(self):
            total = total.to(part.device) + part.squares().sum(0, dtype=torch.float64)
        return total

    def squares(self) -> Tensor:
        """Return the squared entries of the matrices row by row, or of the vectors, (n, width)."""
        vectors = self.to(torch.promote_types(self.dtype, torch.float32)).dense()
        found = vectors if self.matrix is None else self.matrix.matrices(vectors).flatten(1)
        return found.square()

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.tensors().values())).device

    @property
    def dtype(self) -> torch.dtype:
        """That of the gradients."""
        return next(t.dtype for t in self.tensors().values() if t.is_floating_point())

    @property
    def bytes_per_sample(self) -> int:
        """Memory that one sample takes in this form."""
        tensors = self.tensors().values()
        return sum(t.shape[1:].numel() * t.element_size() for t in tensors)

    @abstractmethod
    def formed(self) -> Term:
        """Return the same gradients as a `Dense` term."""


def blocks_of(term: Term) -> Iterator[Term]:
    """Yield a few samples of a term after the other, such that their formed gradients fit."""
    count = max(1, len(term))  # one block, an empty one, of no samples
    for rows in row_blocks(count, term.width, term.device, numbers=LARGE):
        yield term[rows]
