"""Gradients of parameters that are used in more than one way, such as tied weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from headwater.gradients.matrix import Matrix
from headwater.gradients.term import Dense, LinearMap, Term

__all__ = ["Sum"]


@dataclass(frozen=True, eq=False)
class Sum(Term):
    """g_i = Σ_k g_i^(k), all terms on the same parameters: an embedding that is an output layer too.

    Args:
        terms: at least two, of the same samples and width.
    """

    kind = "sum"
    terms: tuple[Term, ...]

    @property
    def matrix(self) -> Matrix | None:
        """The shape of the weight, if all its uses see the same one."""
        first = self.terms[0].matrix
        return first if all(term.matrix == first for term in self.terms) else None

    @property
    def width(self) -> int:
        """Numbers in one formed gradient."""
        return self.terms[0].width

    def dense(self) -> Tensor:
        """Return the gradients, formed, (n, width)."""
        return self._total(lambda term: term.dense())

    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add Σ_k ⟨g_i^(k), g'_j⟩ to out (n, m)."""
        for mine in self.terms:
            mine.add_inner(other, out)

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return Σ_k ⟨g_i^(k), v_j⟩, (n, m)."""
        return self._total(lambda term: term.inner_vectors(vectors))

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`."""
        return self._total(lambda term: term.columns(start, stop))

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns of `dense` at coordinates (k,)."""
        return self._total(lambda term: term.entries(coordinates))

    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Dense:
        """Return L_out G_i L_inᵀ of the formed gradients: uses may see the weight from two sides."""
        return self.formed().two_sided(inputs, outputs)

    def _total(self, part: Callable[[Term], Tensor]) -> Tensor:
        return reduce(torch.add, map(part, self.terms))

    def tensors(self) -> dict[str, Tensor]:
        """Return those of all terms, ``<k>.<name>``."""
        pairs = enumerate(self.terms)
        return {f"{k}.{name}": t for k, term in pairs for name, t in term.tensors().items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Sum:
        """Return the same kind of sum made of other tensors."""
        own = [{n: tensors[f"{k}.{n}"] for n in t.tensors()} for k, t in enumerate(self.terms)]
        return Sum(tuple(t.with_tensors(part) for t, part in zip(self.terms, own, strict=True)))

    def form(self) -> dict[str, Any]:
        """Return the forms of the terms."""
        return {"kind": "sum", "terms": [term.form() for term in self.terms]}
