"""What the gradients of one group of parameters can do, and the form of those that are formed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from headwater.gradients.matrix import Matrix
from headwater.memory import LARGE, row_blocks


class LinearMap(Protocol):
    """A linear map of the last dimension, as one side of a projection or of a change of basis."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the images of x (..., d), shape (..., k)."""

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the images of unit vectors of length `size`, (..., k) for index (...)."""


class Moments(NamedTuple):
    """Sums over samples and positions that Kronecker factors are made of, in float64."""

    inputs: Tensor  # Σ a aᵀ, (d_in (+ 1), d_in (+ 1)); one-hot inputs: its diagonal, (d_in,)
    outputs: Tensor  # Σ e eᵀ, (d_out, d_out)
    positions: int  # how many there are


@dataclass(frozen=True, eq=False)
class Term(ABC):
    """The gradients g_i (width,) of one group of parameters for n samples.

    Terms of one group can be mixed: any form works with any other. A form is a dataclass of tensors,
    whose first dimension is the sample, and of options that JSON can keep. What it knows no better way
    for is done by forming the gradients, a few samples at a time.
    """

    kind: ClassVar[str]

    @property
    def matrix(self) -> Matrix | None:
        """The shape of the weight, where the parameters are a weight matrix (and its bias)."""
        return None

    @property
    def width(self) -> int:
        """Numbers in one formed gradient."""
        assert self.matrix is not None
        return self.matrix.width

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
    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Term:
        """Return L_out G_i L_inᵀ, G_i (d_out, d_in (+ 1)), None: identity; ValueError for vectors."""

    def moments(self, reduce: bool = False) -> Moments | None:
        """Return moments of positions ("expand"), or of their sums ("reduce"); None: not kept."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return what a store must keep."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return the same kind of term made of other tensors (the inverse of `tensors`)."""
        return replace(self, **tensors)

    def form(self) -> dict[str, Any]:
        """Return all but the tensors, as JSON can keep it (see `headwater.gradients.forms.empty`)."""
        tensors = self.tensors()
        return {"kind": self.kind} | {k: v for k, v in vars(self).items() if k not in tensors}

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return self.with_tensors({name: t[rows] for name, t in self.tensors().items()})

    def to(self, dtype: torch.dtype) -> Self:
        """Return the gradients in another dtype; themselves if it is theirs."""
        if dtype == self.dtype:
            return self
        real = {name: t for name, t in self.tensors().items() if t.is_floating_point()}
        return self.with_tensors(self.tensors() | {name: t.to(dtype) for name, t in real.items()})

    def contiguous(self) -> Self:
        """Return the gradients as they lie in a store: products have the same last bits then."""
        return self.with_tensors({name: t.contiguous() for name, t in self.tensors().items()})

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
        return sum(t.shape[1:].numel() * t.element_size() for t in self.tensors().values())

    def formed(self) -> Dense:
        """Return the same gradients as a `Dense` term."""
        return Dense(_joined([part.dense() for part in self._blocks()]), self.matrix)

    def cheaper_formed(self, n: int, m: int) -> bool:
        """Whether all products of n such gradients with m others cost less once all are formed."""
        return False

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`, (n, stop - start)."""
        return _joined([part.dense()[:, start:stop] for part in self._blocks()])

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns of `dense` at coordinates (k,), shape (n, k)."""
        return _joined([part.dense()[:, coordinates] for part in self._blocks()])

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,)."""
        return torch.cat([part.dense().square().sum(1) for part in self._blocks()])

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Return Σ_kl weights_kl G_i,kl² for weights (d_out, d_in (+ 1)), (n,) in float64."""
        parts = [part._squares().double() for part in self._blocks()]
        return torch.cat([squares @ weights.double().flatten() for squares in parts])

    def sum_of_squares(self) -> Tensor:
        """Return Σ_i G_i², entry by entry, (d_out · d_in (+ d_out),) in float64."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self._blocks():
            total = total + part._squares().sum(0, dtype=torch.float64)
        return total

    def _squares(self) -> Tensor:
        """Return the squared entries of the matrices row by row, or of the vectors, (n, width)."""
        vectors = self.to(torch.promote_types(self.dtype, torch.float32)).dense()
        found = vectors if self.matrix is None else self.matrix.matrices(vectors).flatten(1)
        return found.square()

    def _blocks(self) -> Iterator[Self]:
        count = max(1, len(self))  # one block, an empty one, of no samples
        for rows in row_blocks(count, self.width, self.device, numbers=LARGE):
            yield self[rows]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, eq=False)
class Dense(Term):
    """Vectors g_i (n, width), of what no other form makes smaller: norms, projected gradients."""

    kind = "dense"
    vectors: Tensor
    matrix: Matrix | None = None

    @property
    def width(self) -> int:
        """Numbers in one gradient."""
        return int(self.vectors.shape[1])

    def dense(self) -> Tensor:
        """Return the vectors."""
        return self.vectors

    def formed(self) -> Dense:
        """Return this term."""
        return self

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of the vectors."""
        return self.vectors[:, start:stop]

    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add ⟨g_i, g'_j⟩ to out (n, m)."""
        if isinstance(other, Dense):
            out.addmm_(self.vectors, other.vectors.T)
        else:  # the other form knows how it meets vectors
            out += other.inner_vectors(self.vectors).T

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return ⟨g_i, v_j⟩, (n, m)."""
        return self.vectors @ vectors.T

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,)."""
        return torch.einsum("np,np->n", self.vectors, self.vectors)

    def tensors(self) -> dict[str, Tensor]:
        """Return {"columns": the vectors}, as stores call them."""
        return {"columns": self.vectors}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Dense:
        """Return the same kind of term made of other tensors."""
        return Dense(tensors["columns"], self.matrix)

    def form(self) -> dict[str, Any]:
        """Return the shape of the weight as numbers."""
        return {"kind": "dense", "matrix": self.matrix and list(astuple(self.matrix))}

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
        k_out, k_in = found.shape[1:]
        # Stored as before where inputs stay as they are: so does a table, which has one order only.
        shape = Matrix(k_out, k_in, transposed=inputs is None and self.matrix.transposed)
        return Dense(shape.vectors(found), shape)
