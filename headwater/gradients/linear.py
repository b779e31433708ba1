"""The per-sample gradients of one Linear layer, kept as the two factors they are made of.

For z_t = W a_t + b the gradient of sample i is  ∂f_i/∂W = Σ_t e_it a_itᵀ  and  ∂f_i/∂b = Σ_t e_it,
with a (n, T, d_in) the inputs, e (n, T, d_out) the gradients with respect to z, and t any position:
a token, a pixel, or one of several calls of a shared module. The bias is the weight of one more
input that is always 1, so ⟨∇f_i, ∇f_j⟩ = Σ_st (a_is·a_jt + 1)(e_is·e_jt).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LinearFactors"]

WORKSPACE = 2**25
"""Numbers that one intermediate may hold (128 MiB in float32)."""
BLOCK = 2**23
"""Numbers that are materialised at once on their way into a matrix product (32 MiB in float32)."""
GATHER = 16
"""The time of one gathered product in multiply-additions of a matrix product, as measured."""
CACHE = 2**20
"""Numbers of a Gram block that are multiplied while they are still in the processor's cache."""


@dataclass(frozen=True)
class LinearFactors:
    """Factored gradients of one Linear layer for n samples.

    Args:
        inputs: a, (n, T, d_in).
        errors: e, (n, T, d_out).
        bias: whether the bias belongs to the gradient.
    """

    inputs: Tensor
    errors: Tensor
    bias: bool

    @property
    def width(self) -> int:
        """Numbers in one dense gradient: d_out · d_in (+ d_out)."""
        return int(self.errors.shape[2]) * (int(self.inputs.shape[2]) + self.bias)

    def __getitem__(self, rows: slice) -> LinearFactors:
        """Return the factors of some of the samples."""
        return LinearFactors(self.inputs[rows], self.errors[rows], self.bias)

    def dense(self) -> Tensor:
        """Return the weight's gradients row by row, then the bias's: (n, d_out·d_in (+ d_out))."""
        weight = self.weight()
        return torch.cat([weight, self.errors.sum(1)], 1) if self.bias else weight

    def weight(self) -> Tensor:
        """Return the weight's gradients row by row: (n, d_out·d_in)."""
        return torch.einsum("nto,nti->noi", self.errors, self.inputs).flatten(1)

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`, (n, stop - start)."""
        d_in = int(self.inputs.shape[2])
        split = d_in * int(self.errors.shape[2])
        if start >= split:
            return self.errors[:, :, start - split : stop - split].sum(1)
        if stop > split:
            return torch.cat([self.columns(start, split), self.columns(split, stop)], 1)
        # Whole rows of the weight between what is left of the first and of the last one.
        rows, edges = (-(-start // d_in), stop // d_in), []
        if rows[0] > rows[1]:  # all inside one row
            return self._rectangle(rows[1], rows[0], start % d_in, stop % d_in)
        if start % d_in:
            edges.append(self._rectangle(rows[0] - 1, rows[0], start % d_in, d_in))
        edges.append(self._rectangle(*rows, 0, d_in))
        if stop % d_in:
            edges.append(self._rectangle(rows[1], rows[1] + 1, 0, stop % d_in))
        return torch.cat(edges, 1)

    def _rectangle(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Return rows top … bottom and columns left … right of the weight's gradients, flat."""
        e, a = self.errors[:, :, top:bottom], self.inputs[:, :, left:right]
        return torch.einsum("nto,nti->noi", e, a).flatten(1)

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the entries of `dense` at coordinates (k,), shape (n, k)."""
        (n, t, d_in), d_out = self.inputs.shape, int(self.errors.shape[2])
        weight = coordinates < d_in * d_out
        bias = self.errors[:, :, coordinates[~weight] - d_in * d_out].sum(1)
        row, column = coordinates[weight] // d_in, coordinates[weight] % d_in
        count = len(row)
        if t * GATHER * count > (t + GATHER) * d_in * d_out:
            step = max(1, WORKSPACE // max(1, self.width))
            dense = (self[i : i + step].dense()[:, coordinates] for i in range(0, n, step))
            return torch.cat([bias.new_zeros(0, len(coordinates)), *dense])
        step = max(1, WORKSPACE // max(1, t * count))
        parts = [
            (self.errors[i : i + step, :, row] * self.inputs[i : i + step, :, column]).sum(1)
            for i in range(0, n, step)
        ]
        found = bias.new_empty(n, len(coordinates))
        found[:, weight], found[:, ~weight] = torch.cat([bias.new_zeros(0, count), *parts]), bias
        return found

    def inner(self, other: LinearFactors) -> Tensor:
        """Return ⟨∇f_i, ∇f'_j⟩ over this layer, (n, m)."""
        out = self.inputs.new_zeros(len(self.inputs), len(other.inputs))
        self.add_inner(other, out)
        return out

    def add_inner(self, other: LinearFactors, out: Tensor) -> None:
        """Add ⟨∇f_i, ∇f'_j⟩ over this layer to out (n, m), by the cheaper of two exact routes."""
        (n, s, d_in), (m, t, d_out) = self.inputs.shape, other.errors.shape
        factored_cost = n * m * s * t * (d_in + d_out)
        dense_cost = (n * s + m * t) * d_in * d_out + n * m * d_in * d_out
        if factored_cost > dense_cost:
            out += self.inner_dense(other.dense())
            return
        rows = max(1, CACHE // max(1, s * m * t))
        for i in range(0, n, rows):
            part = out[i : i + rows]
            inputs, errors = self._gram(other, slice(i, i + rows))
            if s == t == 1:
                part.addcmul_(inputs, errors)
            else:
                part += inputs.mul_(errors).view(len(part), s, m, t).sum((1, 3))

    def _gram(self, other: LinearFactors, rows: slice) -> tuple[Tensor, Tensor]:
        """Return a_is·a_jt + 1 and e_is·e_jt, (n·s, m·t)."""
        a, e = self.inputs[rows].flatten(0, 1), self.errors[rows].flatten(0, 1)
        one = a.new_ones(()) if self.bias else a.new_zeros(())
        inputs = torch.addmm(one, a, other.inputs.flatten(0, 1).T)
        return inputs, e @ other.errors.flatten(0, 1).T

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return ⟨∇f_i, v_j⟩ for vectors (m, width) laid out as in `dense`, (n, m).

        By the route that moves less memory, a few samples at a time: e_i · (V_j a_i) without a
        gradient, or a matrix product with the gradients, materialised.
        """
        (_, t, d_in), d_out = self.inputs.shape, int(self.errors.shape[2])
        weights, biases = vectors[:, : d_in * d_out], vectors[:, d_in * d_out :]
        out = vectors.new_empty(len(self.inputs), len(vectors))
        apart = t == 1 and len(vectors) < d_in // 2
        moved = len(vectors) * d_out if apart else d_in * d_out
        rows = max(16, BLOCK // max(1, moved))
        for i in range(0, len(out), rows):
            part, into = self[i : i + rows], out[i : i + rows]
            if apart:
                outputs = part.inputs[:, 0] @ weights.unflatten(1, (d_out, d_in)).mT
                torch.sum(outputs.mul_(part.errors[:, 0]), 2, out=into.T)
            else:
                torch.mm(part.weight(), weights.T, out=into)
            if self.bias:
                into.addmm_(part.errors.sum(1), biases.T)
        return out

    def squared_norms(self) -> Tensor:
        """Return ‖∇f_i‖² over this layer, (n,)."""
        _, t, d_in = self.inputs.shape
        if t == 1:
            a2 = self.inputs.square().sum((1, 2)) + self.bias
            return a2 * self.errors.square().sum((1, 2))
        d_out = self.errors.shape[2]
        if t * (d_in + d_out) > d_in * d_out:
            rows = max(1, WORKSPACE // max(1, self.width))
            blocks = [
                self[i : i + rows].dense().square().sum(1) for i in range(0, len(self.inputs), rows)
            ]
            return torch.cat(blocks) if blocks else self.inputs.new_zeros(0)
        gram = self.inputs @ self.inputs.mT + float(self.bias)
        return (gram * (self.errors @ self.errors.mT)).sum((1, 2))
