"""Gradients kept as sums of outer products: of Linear layers, and of convolutions unfolded.

For z_t = W a_t + b the gradient of sample i is  ∂f_i/∂W = Σ_t e_it a_itᵀ  and  ∂f_i/∂b = Σ_t e_it,
with a (n, T, d_in) the inputs, e (n, T, d_out) the gradients with respect to z, and t any position:
a token, a pixel, or one of several calls of a shared module. The bias is the weight of one more
input that is always 1, so ⟨∇f_i, ∇f_j⟩ = Σ_st (a_is·a_jt + 1)(e_is·e_jt).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.gradients.matrix import Matrix
from headwater.gradients.term import LinearMap, Moments, Term
from headwater.memory import LARGE, row_blocks

GATHER = 16  # the time of one gathered product in those of a matrix product, as measured


@dataclass(frozen=True, eq=False)
class Outer(Term):
    """G_i = Σ_t e_it a_itᵀ of a weight, stored as (d_out, d_in) or transposed, and maybe its bias."""

    kind = "outer"
    inputs: Tensor
    output_gradients: Tensor
    bias: bool = False
    transposed: bool = False

    @property
    def matrix(self) -> Matrix:
        """The shape of the weight."""
        d_in, d_out = int(self.inputs.shape[2]), int(self.output_gradients.shape[2])
        return Matrix(d_out, d_in, self.bias, self.transposed)

    def dense(self) -> Tensor:
        """Return the gradients, formed, (n, width)."""
        biases = self.output_gradients.sum(1) if self.bias else None
        return self.matrix.join(self._weights(), biases)

    def _weights(self) -> Tensor:
        return torch.einsum("nto,nti->noi", self.output_gradients, self.inputs)

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop of `dense`, from the rows of the weight that they lie in."""
        left, right = self.inputs, self.output_gradients
        if not self.transposed:
            left, right = right, left
        inner = int(right.shape[2])
        split = int(left.shape[2]) * inner
        if start >= split:
            return self.output_gradients[:, :, start - split : stop - split].sum(1)
        if stop > split:
            return torch.cat([self.columns(start, split), self.columns(split, stop)], 1)
        first, last = start // inner, -(-stop // inner)
        whole = torch.einsum("ntr,ntc->nrc", left[:, :, first:last], right).flatten(1)
        return whole[:, start - first * inner : stop - first * inner]

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return the columns of `dense` at coordinates (k,), gathered or formed."""
        t, k = int(self.inputs.shape[1]), len(coordinates)
        if t * GATHER * k > (t + GATHER) * self.width:
            return super().entries(coordinates)
        rows, columns = self.matrix.places(coordinates)
        parts = [self.inputs.new_zeros(0, k)]
        for block in row_blocks(len(self), t * k, self.device, numbers=LARGE):
            a, e = self[block].with_one(), self.output_gradients[block]
            parts.append((e[:, :, rows] * a[:, :, columns]).sum(1))
        return torch.cat(parts)

    def add_inner(self, other: Term, out: Tensor) -> None:
        """Add ⟨g_i, g'_j⟩ to out (n, m), by the cheaper of two exact routes."""
        if not isinstance(other, Outer):
            other.add_inner(self, out.T)
            return
        (n, s, _), (m, t, _) = self.inputs.shape, other.inputs.shape
        if self.cheaper_formed(n, m, t):
            out += self.inner_vectors(other.dense())
            return
        one = self.inputs.new_full((), float(self.bias))  # of the bias, whose input is 1
        their_a, their_e = other.inputs.flatten(0, 1), other.output_gradients.flatten(0, 1)
        for rows in row_blocks(n, s * m * t, self.device):
            part = out[rows]
            a, e = self.inputs[rows].flatten(0, 1), self.output_gradients[rows].flatten(0, 1)
            inputs, outputs = torch.addmm(one, a, their_a.T), e @ their_e.T  # (n·s, m·t)
            if s == t == 1:
                part.addcmul_(inputs, outputs)
            else:
                part += inputs.mul_(outputs).view(len(part), s, m, t).sum((1, 3))

    def cheaper_formed(self, n: int, m: int, t: int | None = None) -> bool:
        """Whether s t (d_in + d_out) operations a pair exceed d_in d_out, and those of forming."""
        (_, s, d_in), d_out = self.inputs.shape, int(self.output_gradients.shape[2])
        t = s if t is None else t
        return n * m * s * t * (d_in + d_out) > (n * s + m * t + n * m) * d_in * d_out

    def inner_vectors(self, vectors: Tensor) -> Tensor:
        """Return ⟨g_i, v_j⟩ for vectors (m, width), (n, m), by the route that moves less memory."""
        (_, t, d_in), d_out = self.inputs.shape, int(self.output_gradients.shape[2])
        weights, biases = self.matrix.split(vectors)
        out = vectors.new_empty(len(self), len(vectors))
        through_vectors = t == 1 and len(vectors) < d_in // 2
        by_rows = t == 1 and not through_vectors and d_in >= 64
        moved = len(vectors) * d_out if through_vectors else d_in * d_out
        if by_rows:
            moved = 4 * (d_in + len(vectors))  # what each of d_out products reads and writes
        flat = weights.flatten(1).T
        for rows in row_blocks(len(out), moved, self.device, least=16):
            part, into = self[rows], out[rows]
            if through_vectors:
                products = part.inputs[:, 0] @ weights.mT
                torch.sum(products.mul_(part.output_gradients[:, 0]), 2, out=into.T)
            elif by_rows:
                a, e = part.inputs[:, 0], part.output_gradients[:, 0]
                into.zero_()
                for k in range(d_out):
                    into.addmm_(a * e[:, k : k + 1], weights[:, k].T)
            else:
                torch.mm(part._weights().flatten(1), flat, out=into)
            if self.bias:
                into.addmm_(part.output_gradients.sum(1), biases.T)
        return out

    def squared_norms(self) -> Tensor:
        """Return ‖g_i‖², (n,), from t × t Gram matrices where they are smaller than the gradient."""
        a, e = self.inputs, self.output_gradients
        t = int(a.shape[1])
        if t == 1:
            return (a.square().sum((1, 2)) + self.bias) * e.square().sum((1, 2))
        if t * (a.shape[2] + e.shape[2]) > a.shape[2] * e.shape[2]:
            return super().squared_norms()
        return ((a @ a.mT + float(self.bias)) * (e @ e.mT)).sum((1, 2))

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Return Σ_kl weights_kl G_i,kl², (n,) in float64."""
        if self.inputs.shape[1] != 1:
            return super().weighted_squares(weights)
        e, a = self.output_gradients[:, 0].double(), self.with_one()[:, 0].double()
        # The square of an outer product is the outer product of the squares.
        return ((e.square() @ weights.double()) * a.square()).sum(1)

    def sum_of_squares(self) -> Tensor:
        """Return Σ_i G_i², entry by entry, in float64."""
        if self.inputs.shape[1] != 1:
            return super().sum_of_squares()
        e, a = self.output_gradients[:, 0].double(), self.with_one()[:, 0].double()
        return (e.square().T @ a.square()).flatten()

    def with_one(self) -> Tensor:
        """Return the inputs with the bias's constant 1 as the last one, (n, T, d_in (+ 1))."""
        a = self.inputs
        return torch.cat([a, a.new_ones(*a.shape[:-1], 1)], -1) if self.bias else a

    def two_sided(self, inputs: LinearMap | None, outputs: LinearMap | None) -> Outer:
        """Return L_out G_i L_inᵀ = Σ_t (L_out e_it)(L_in [a_it; 1])ᵀ."""
        a, e = self.with_one(), self.output_gradients
        return Outer(
            a if inputs is None else inputs(a),
            e if outputs is None else outputs(e),
            transposed=inputs is None and self.transposed,
        )

    def moments(self, reduce: bool = False) -> Moments:
        """Return the second moments; positions that no output gradient reaches do not count."""
        a, e = self.with_one().double(), self.output_gradients.double()
        if reduce:
            live = e.any(2)
            count = live.sum(1).clamp_min(1)[:, None]
            a, e = (a * live[:, :, None]).sum(1) / count, e.sum(1)
        else:
            a, e = a.flatten(0, 1), e.flatten(0, 1)
            if self.inputs.shape[1] > 1:  # else padding, and so the batches, would change the mean
                live = e.any(1)
                a, e = a[live], e[live]
        return Moments(a.T @ a, e.T @ e, len(a))
