"""Gradients of parameters that are used in more than one way, such as tied weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwater.gradients.dense import Dense
from headwater.gradients.matrix import Matrix
from headwater.gradients.term import LinearMap, Term, blocks_of

__all__ = ["Sum"]


@dataclass(frozen=True, eq=False)
class Sum(Term):
    """g_i = Σ_k g_i^(k), all terms on the same parameters: an embedding that is an output layer too.

    Args:
        terms: at least two, of the same samples and width.
    """

    terms: tuple[Term, ...]

    @classmethod
    def of(cls, *terms: Term) -> Sum:
        """Return the sum of terms, those that are sums themselves taken apart."""
        parts = [t.terms if isinstance(t, Sum) else (t,) for t in terms]
        return cls(tuple(term for part in parts for term in part))

    @property
    def matrix(self) -> Matrix | None:  # type: ignore[override]
        """The shape of the weight, if all its uses see the same one."""
        first = self.terms[0].matrix
        return first if all(term.matrix == first for term in self.terms) else None

    def __len__(self) -> int:
        return len(self.terms[0])

    @property
    def width(self) -> int:
        """Numbers in one formed gradient."""
        return self.terms[0].width

    def dense(self) -> Tensor:
        """Return the gradients, formed, (n, width)."""
        total = self.terms[0].dense()
        for term in self.terms[1:]:
            total = total + term.dense()
        return total

    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add Σ_k ⟨g_i^(k), g'_j⟩ to out (n, m)."""
        for mine in self.terms:
            mine.add_inner(other, out)

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return Σ_k ⟨g_i^(k), v_j⟩, (n, m)."""
        total = self.terms[0].inner_vectors(vectors)
        for term in self.terms[1:]:
            total += term.inner_vectors(vectors)
        return total

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`."""
        return torch.stack([term.columns(start, stop) for term in self.terms]).sum(0)

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns of `dense` at coordinates (k,)."""
        return torch.stack([term.entries(coordinates) for term in self.terms]).sum(0)

    def tensors(self) -> dict[str, Tensor]:
        """Return those of all terms, ``<k>.<name>``."""
        return {
            f"{k}.{n}": t for k, term in enumerate(self.terms) for n, t in term.tensors().items()
        }

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Sum:
        """Return the same kind of sum made of other tensors."""
        made = []
        for k, term in enumerate(self.terms):
            made.append(
                term.with_tensors({name: tensors[f"{k}.{name}"] for name in term.tensors()})
            )
        return Sum(tuple(made))

    def form(self) -> dict[str, Any]:
        """Return {"kind": "sum", "terms": ...}."""
        return {"kind": "sum", "terms": [term.form() for term in self.terms]}

    def formed(self) -> Dense:
        """Return the same gradients as a `Dense` term."""
        return Dense(torch.cat([part.dense() for part in blocks_of(self)]), self.matrix)

    def plus(self, other: Term) -> Term:
        """Return g_i + g'_i, joined with a term of the same form if there is one."""
        if isinstance(other, Dense):
            return other.plus(self)
        for k, term in enumerate(self.terms):
            if term.form() == other.form():
                return Sum((*self.terms[:k], term.plus(other), *self.terms[k + 1 :]))
        return Sum.of(self, other)

    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Dense:
        """Return L_out G_i L_inᵀ of the formed gradients: uses may see the weight from two sides."""
        return self.formed().two_sided(inputs, outputs)
