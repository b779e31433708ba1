"""Terms of several: sums and joins of them, which form is smaller, and the way back from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from headwater.gradients.matrix import Matrix
from headwater.gradients.outer import Outer
from headwater.gradients.rows import Rows
from headwater.gradients.term import Dense, LinearMap, Term


@dataclass(frozen=True, eq=False)
class Sum(Term):
    """g_i = Σ_k g_i^(k), two or more terms on the same parameters, such as tied weights."""

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
        """Return L_out G_i L_inᵀ, formed: uses may see the weight from two sides."""
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


def smaller(term: Term) -> Term:
    """Return a term as it is, or formed where that takes no more bytes, and so no more operations.

    Of factors an inner product costs T² (d_in + d_out), formed d_in · d_out: where T (d_in + d_out) ≥
    d_in · d_out, factors are never cheaper to multiply.
    """
    if isinstance(term, Dense) or term.bytes_per_sample < term.width * term.dtype.itemsize:
        return term
    return term.formed()


def added(one: Term, two: Term) -> Term:
    """Return g_i + g'_i, the same parameters used twice: of one form, more positions."""
    for term in (one, two):
        if isinstance(term, Dense):
            return Dense(one.dense() + two.dense(), term.matrix)
    mine, theirs = (term.terms if isinstance(term, Sum) else (term,) for term in (one, two))
    for k, term in enumerate(mine):
        if term.form() == two.form():
            more = two.tensors()
            longer = {name: torch.cat([t, more[name]], 1) for name, t in term.tensors().items()}
            found = (*mine[:k], term.with_tensors(longer), *mine[k + 1 :])
            return found[0] if len(found) == 1 else Sum(found)
    return Sum((*mine, *theirs))


def concatenated(terms: Sequence[Term]) -> Term:
    """Join terms of one group along the samples; positions that are added are zero."""
    first = terms[0]
    if any(term.form() != first.form() for term in terms):
        matrix = next((term.matrix for term in terms if term.matrix is not None), None)
        return Dense(torch.cat([term.formed().dense() for term in terms]), matrix)
    found = {}
    for name, tensor in first.tensors().items():
        parts = [term.tensors()[name] for term in terms]
        most, after = max(part.shape[1] for part in parts), [0, 0] * (tensor.ndim - 2)
        missing = [most - part.shape[1] for part in parts]  # positions, the second dimension
        pairs = zip(parts, missing, strict=True)
        found[name] = torch.cat([pad(p, [*after, 0, m]) if m else p for p, m in pairs])
    return first.with_tensors(found)


def empty(form: dict[str, Any]) -> Term:
    """Return a term of no samples in a form that `Term.form` returned; `with_tensors` fills it."""
    nothing = torch.zeros(0, 0, 0)
    match form["kind"]:
        case "outer":
            return Outer(nothing, nothing, form["bias"], form["transposed"])
        case "rows":
            return Rows(torch.zeros(0, 0, dtype=torch.int64), nothing, form["size"])
        case "sum":
            return Sum(tuple(empty(part) for part in form["terms"]))
        case _:
            matrix = None if form["matrix"] is None else Matrix(*form["matrix"])
            return Dense(torch.zeros(0, 0), matrix)
