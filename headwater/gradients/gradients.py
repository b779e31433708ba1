"""The gradients of samples: a layout of parameters, and one term for each group of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, final

import torch
from torch import Tensor

from headwater.gradients.forms import concatenated
from headwater.gradients.term import Dense, Term
from headwater.memory import row_blocks
from headwater.parameters import ParameterLayout


class GradientProjector(Protocol):
    """A projection, such as all of `headwater.projections`."""

    def of(self, gradients: Gradients) -> Gradients:
        """Return P∇f_i."""


@dataclass(frozen=True)
class Scheme:
    """All parameters in the order of a dense gradient, and the names of those that share a term."""

    layout: ParameterLayout
    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def of_widths(cls, widths: Sequence[int], name: str = "block") -> Scheme:
        """Return the scheme of vectors that are cut into blocks of columns."""
        shapes = tuple((f"{name}.{b:04d}", (width,)) for b, width in enumerate(widths))
        return cls(ParameterLayout(shapes), tuple((block,) for block, _ in shapes))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each group: that of its first parameter."""
        return tuple(group[0] for group in self.groups)

    @cached_property
    def columns(self) -> tuple[tuple[slice, ...], ...]:
        """Where each group lies in a dense gradient; neighbours are one slice."""
        return tuple(_merged([self.layout.slices[n] for n in group]) for group in self.groups)

    @cached_property
    def pieces(self) -> list[tuple[int, int, int, int]]:
        """All columns in order: first, last, the group, and what leads to those of its term."""
        found = []
        for group, columns in enumerate(self.columns):
            offset = 0
            for part in columns:
                found.append((part.start, part.stop, group, offset - part.start))
                offset += part.stop - part.start
        return sorted(found)

    @cached_property
    def by_group(self) -> tuple[Scheme, ...]:
        """One scheme per group."""
        shapes = dict(self.layout.shapes)
        return tuple(
            Scheme(ParameterLayout(tuple((n, shapes[n]) for n in group)), (group,))
            for group in self.groups
        )

    def take(self, vectors: Tensor, group: int) -> Tensor:
        """Return what vectors (m, p) hold of a group, (m, width): a view if it is in one piece."""
        parts = [vectors[:, columns] for columns in self.columns[group]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def split(self, vectors: Tensor) -> Gradients:
        """Return vectors (m, p) as gradients, one term per group."""
        terms = [Dense(self.take(vectors, group)) for group in range(len(self.groups))]
        return Gradients(self, terms, vectors.new_zeros(len(vectors)))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the vectors (m, p) that have these parts (m, width), one per group."""
        return Gradients(self, [*map(Dense, parts)], parts[0].new_zeros(len(parts[0]))).dense()


@final
class Gradients:
    """The gradients ∇f_i (p,) of n samples, and the values f_i (n,) they were taken at.

    Each group of parameters has a term of its own, in the form that is cheapest for it: products and
    norms are sums over the groups, and no gradient is formed where factors are cheaper. Slicing
    selects samples.

    Example:
        >>> g = Gradients.of_vectors(torch.eye(2))
        >>> g.inner(g).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, scheme: Scheme, terms: Sequence[Term], values: Tensor) -> None:
        self.scheme, self.terms, self.values = scheme, tuple(terms), values

    @classmethod
    def of_vectors(
        cls, vectors: Tensor, values: Tensor | None = None, widths: Sequence[int] = ()
    ) -> Gradients:
        """Return gradients that are vectors (n, p) already, such as projected ones.

        The values f_i are zeros by default; `widths` says how many columns each block has, by default
        all are one. ValueError if the vectors have another shape.
        """
        if vectors.ndim != 2:
            raise ValueError(f"vectors must have shape (n, p), got {tuple(vectors.shape)}")
        cut = list(widths) or [int(vectors.shape[1])]
        terms = [Dense(block) for block in vectors.split(cut, 1)]
        values = vectors.new_zeros(len(vectors)) if values is None else values
        return cls(Scheme.of_widths(cut), terms, values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dimension(self) -> int:
        """The length p of one gradient (k when projected)."""
        return self.scheme.layout.size

    @property
    def dtype(self) -> torch.dtype:
        """That of the gradients; values may have another."""
        return self.terms[0].dtype if self.terms else self.values.dtype

    @property
    def _sums(self) -> torch.dtype:
        """That of products: sums over all parameters need 32 bits."""
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """The memory they take."""
        return self.values.nbytes + sum(len(self) * term.bytes_per_sample for term in self.terms)

    def inner(self, other: Gradients) -> Tensor:
        """Return all inner products ⟨∇f_i, ∇f'_j⟩, (n, m); ValueError if parameters differ."""
        if other.scheme != self.scheme:
            raise ValueError(
                "inner products need gradients of the same parameters, got "
                f"{self.dimension} and {other.dimension} of them in {len(self.terms)} and "
                f"{len(other.terms)} groups; capture both with the same model and layers"
            )
        total = torch.zeros(len(self), len(other), dtype=self._sums, device=self.device)
        for mine, theirs in zip(self.terms, other.terms, strict=True):
            mine.to(self._sums).add_inner(theirs.to(self._sums), total)
        return total

    def inner_all(self, others: Sequence[Gradients], n: int) -> Tensor:
        """Return the products with several blocks, (b, m); these are b of n that meet them."""
        sizes = list(map(len, others))
        total = torch.zeros(len(self), sum(sizes), dtype=self._sums, device=self.device)
        for group, term in enumerate(self.terms):
            mine = term.to(self._sums)
            met = [other.terms[group].to(self._sums) for other in others]
            pairs = list(zip(met, total.split(sizes, 1), strict=True))
            if not mine.cheaper_formed(n, sum(sizes)):
                for theirs, out in pairs:
                    mine.add_inner(theirs, out)
                continue
            # Formed once for all blocks, so few columns at a time that they stay in fast memory.
            for part in row_blocks(mine.width, len(self), self.device):
                formed = mine.columns(part.start, part.stop)
                for theirs, out in pairs:
                    out.addmm_(formed, theirs.columns(part.start, part.stop).T)
        return total

    def formed_for(self, n: int, m: int) -> Gradients:
        """Return them with what is cheaper formed, once, where n gradients meet m."""
        terms = [t.formed() if t.cheaper_formed(n, m) else t for t in self.terms]
        same = all(new is old for new, old in zip(terms, self.terms, strict=True))
        return self if same else Gradients(self.scheme, terms, self.values)

    def width_for(self, n: int, m: int) -> int:
        """Return how many numbers `formed_for` forms per sample."""
        return sum(t.width for t in self.terms if t.cheaper_formed(n, m))

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return ⟨∇f_i, v_j⟩ for vectors (m, p) in the layout's order, (n, m); ValueError for others."""
        if vectors.shape[1] != self.dimension:
            raise ValueError(
                f"vectors must have {self.dimension} columns, got {vectors.shape[1]}; "
                "projected and whole gradients cannot be mixed"
            )
        total = torch.zeros(len(self), len(vectors), dtype=self._sums, device=self.device)
        for group, term in enumerate(self.terms):
            part = self.scheme.take(vectors, group).to(self._sums)
            total += term.to(self._sums).inner_vectors(part)
        return total

    def squared_norms(self) -> Tensor:
        """Return ‖∇f_i‖², (n,)."""
        total = torch.zeros(len(self), dtype=self._sums, device=self.device)
        for term in self.terms:
            total += term.to(self._sums).squared_norms()
        return total

    def dense(self) -> Tensor:
        """Return the gradients as vectors in the layout's order, (n, p)."""
        if len(self.terms) == 1 and len(self.scheme.columns[0]) == 1:
            return self.terms[0].dense()
        out = torch.empty(len(self), self.dimension, dtype=self.dtype, device=self.device)
        for columns, term in zip(self.scheme.columns, self.terms, strict=True):
            widths = [part.stop - part.start for part in columns]
            for part, formed in zip(columns, term.dense().split(widths, 1), strict=True):
                out[:, part] = formed
        return out

    def columns(self, start: int, stop: int) -> Tensor:
        """Return some columns of `dense`, (n, stop - start); no others are ever formed."""
        found = [torch.zeros(len(self), 0, dtype=self.dtype, device=self.device)]
        for first, last, group, shift in self.scheme.pieces:
            low, high = max(start, first), min(stop, last)
            if low < high:
                found.append(self.terms[group].columns(low + shift, high + shift))
        return found[1] if len(found) == 2 else torch.cat(found, 1)

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return some columns of `dense`, given by ascending coordinates (k,), shape (n, k)."""
        found = [torch.zeros(len(self), 0, dtype=self.dtype, device=self.device)]
        for first, last, group, shift in self.scheme.pieces:
            inside = coordinates[(coordinates >= first) & (coordinates < last)]
            found.append(self.terms[group].entries(inside + shift))
        return torch.cat(found, 1)

    def project(self, projection: GradientProjector) -> Gradients:
        """Return the projected gradients P∇f_i (k,), without ever holding P."""
        return projection.of(self)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a store must keep: ``<group>.<tensor>`` and ``values``."""
        found = {"values": self.values}
        for name, term in zip(self.scheme.names, self.terms, strict=True):
            found.update({f"{name}.{part}": tensor for part, tensor in term.tensors().items()})
        return found

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Gradients:
        """Return gradients of the same form made of other tensors (the inverse of `tensors`)."""
        terms = [
            term.with_tensors({part: tensors[f"{name}.{part}"] for part in term.tensors()})
            for name, term in zip(self.scheme.names, self.terms, strict=True)
        ]
        return Gradients(self.scheme, terms, tensors["values"])

    def __getitem__(self, rows: slice | Tensor) -> Gradients:
        return Gradients(self.scheme, [term[rows] for term in self.terms], self.values[rows])


def concatenate(blocks: Sequence[Gradients]) -> Gradients:
    """Join blocks of gradients of one scheme along the samples; ValueError if there is none."""
    if not blocks:
        raise ValueError("concatenate needs at least one block of gradients, got none")
    if len(blocks) == 1:
        return blocks[0]
    terms = [concatenated(parts) for parts in zip(*(b.terms for b in blocks), strict=True)]
    return Gradients(blocks[0].scheme, terms, torch.cat([block.values for block in blocks]))


def _merged(slices: Sequence[slice]) -> tuple[slice, ...]:
    found: list[slice] = []
    for s in slices:
        start = found.pop().start if found and found[-1].stop == s.start else s.start
        found.append(slice(start, s.stop))
    return tuple(found)
