"""Gradients kept as rows of a table: of embeddings, whose inputs are one-hot.

The gradient of sample i is  G_i = Σ_t e_it u(index_it)ᵀ  with u(v) the unit vector of token v: row v
of the table (V, d) gets the sum of the output gradients e_it at the positions that look it up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.gradients.matrix import Matrix
from headwater.gradients.outer import Outer
from headwater.gradients.term import LinearMap, Moments, Term
from headwater.memory import LARGE, row_blocks


@dataclass(frozen=True, eq=False)
class Rows(Term):
    """The gradients of a table of V rows: int64 index (n, T), e (n, T, d), and the size V."""

    kind = "rows"
    index: Tensor
    output_gradients: Tensor
    size: int

    @property
    def matrix(self) -> Matrix:
        """The shape: the inputs are one-hot, and the table is stored one input after the other."""
        return Matrix(int(self.output_gradients.shape[2]), self.size, transposed=True)

    def dense(self) -> Tensor:
        """Return the gradients, formed, (n, V · d)."""
        return self._table(0, self.size).flatten(1)

    def _table(self, first: int, last: int) -> Tensor:
        """Return rows first … last of the gradients, (n, last - first, d)."""
        inside = (self.index >= first) & (self.index < last)
        e = self.output_gradients * inside[:, :, None]
        place = (self.index - first).masked_fill(~inside, 0)[:, :, None].expand_as(e)
        table = e.new_zeros(len(self), last - first, e.shape[2])
        return table.scatter_add_(1, place, e)

    def combined(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that each sample changes: samples (u,), rows (u,), and their sums (u, d)."""
        samples = torch.arange(len(self), device=self.index.device)[:, None]
        keys = (samples * self.size + self.index).flatten()
        unique, place = keys.unique(return_inverse=True)
        e = self.output_gradients.flatten(0, 1)
        sums = e.new_zeros(len(unique), e.shape[1]).index_add_(0, place, e)
        return unique // self.size, unique % self.size, sums

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`, from the rows that they lie in."""
        d = int(self.output_gradients.shape[2])
        first, last = start // d, -(-stop // d)
        return self._table(first, last).flatten(1)[:, start - first * d : stop - first * d]

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns of `dense` at coordinates (k,)."""
        t, k = int(self.index.shape[1]), len(coordinates)
        if t * k > self.width:
            return super().entries(coordinates)
        d = int(self.output_gradients.shape[2])
        rows, columns = coordinates // d, coordinates % d
        parts = [self.output_gradients.new_zeros(0, k)]
        for block in row_blocks(len(self), t * k, self.device, numbers=LARGE):
            e = self.output_gradients[block][:, :, columns]
            parts.append((e * (self.index[block][:, :, None] == rows)).sum(1))
        return torch.cat(parts)

    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add ⟨g_i, g'_j⟩ to out (n, m).

        Of two tables Σ_st [index_is = index_jt] e_is·e_jt; of a table that is also the weight (V, d)
        of a layer Σ_st (e_is · a_jt) e'_jt[index_is].
        """
        if not isinstance(other, (Outer, Rows)):
            other.add_inner(self, out.T)
            return
        alike = isinstance(other, Rows) or not (other.transposed or other.matrix.d_out != self.size)
        (n, s, d), (m, t, _) = self.output_gradients.shape, other.output_gradients.shape
        if not alike or s * t * d > self.width:
            out += self.inner_vectors(other.dense())
            return
        theirs = {name: tensor.flatten(0, 1) for name, tensor in other.tensors().items()}
        for rows in row_blocks(n, s * m * t, self.device):
            e, index = self.output_gradients[rows].flatten(0, 1), self.index[rows].flatten()
            if isinstance(other, Rows):
                gram = (e @ theirs["output_gradients"].T).mul_(index[:, None] == theirs["index"])
            else:
                gram = (e @ theirs["inputs"].T).mul_(theirs["output_gradients"][:, index].T)
            out[rows] += gram.view(-1, s, m, t).sum((1, 3))

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return Σ_t e_it · v_j[index_it] for vectors (m, V · d), (n, m): rows are gathered."""
        n, t, d = self.output_gradients.shape
        tables = vectors.unflatten(1, (self.size, d))
        out = vectors.new_empty(n, len(vectors))
        for rows in row_blocks(n, len(vectors) * t * d, self.device):
            gathered = tables[:, self.index[rows]]
            out[rows] = torch.einsum("mntd,ntd->nm", gathered, self.output_gradients[rows])
        return out

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,)."""
        samples, _, sums = self.combined()
        return sums.new_zeros(len(self)).index_add_(0, samples, sums.square().sum(1))

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Return Σ_kl weights_kl G_i,kl² for weights (d, V), (n,) in float64."""
        samples, rows, sums = self.combined()
        each = (sums.double().square() * weights.double().T[rows]).sum(1)
        return each.new_zeros(len(self)).index_add_(0, samples, each)

    def sum_of_squares(self) -> Tensor:
        """Return Σ_i G_i², entry by entry of (d, V), in float64."""
        _, rows, sums = self.combined()
        squares = sums.double().square()
        total = squares.new_zeros(self.size, squares.shape[1]).index_add_(0, rows, squares)
        return total.T.flatten()

    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Term:
        """Return Σ_t (L_out e_it)(L_in u(index_it))ᵀ."""
        e = self.output_gradients if outputs is None else outputs(self.output_gradients)
        if inputs is None:
            return Rows(self.index, e, self.size)
        return Outer(inputs.units(self.index, self.size).to(e.dtype), e)

    def moments(self, reduce: bool = False) -> Moments | None:
        """Return the second moments of positions that output gradients reach; none are joined."""
        e = self.output_gradients.flatten(0, 1).double()
        live = e.any(1)
        counts = torch.bincount(self.index.flatten()[live], minlength=self.size).double()
        return Moments(counts, e[live].T @ e[live], int(live.sum()))
