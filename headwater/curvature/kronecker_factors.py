"""The estimation of Kronecker factors: second moments, their eigenvectors, and eigenvalues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from headwater.curvature.kronecker_operator import KroneckerBlock, KroneckerOperator, rotate
from headwater.gradients import FactoredGradients, Gradients, LinearFactors

__all__ = ["corrected", "eigenbases"]

WORKSPACE = 2**25
"""Numbers that the gradients of one chunk of samples may hold."""


def eigenbases(blocks: Iterable[Gradients]) -> KroneckerOperator:
    """Return K-FAC: the eigenvectors of A and S, and Λ = the outer product of their spectra.

    A = (1/N) Σ_i Σ_t a_it a_itᵀ over all N positions of all samples, S = (1/n) Σ_i Σ_t e_it e_itᵀ.

    Args:
        blocks: factored gradients, block by block.

    Raises:
        ValueError: if there are none, or they are not factored.
    """
    moments: list[tuple[Tensor, Tensor]] = []
    positions: list[int] = []
    n, squares, last = 0, torch.zeros(()), None
    for block in _factored(blocks):
        if last is None:
            moments = [_empty(factors) for factors in block.layers]
            positions = [0] * len(moments)
            squares = block.rest.new_zeros(block.rest.shape[1], dtype=torch.float64)
        for k, factors in enumerate(block.layers):
            inputs, errors = _flat(factors)
            moments[k][0].addmm_(inputs.T, inputs)
            moments[k][1].addmm_(errors.T, errors)
            positions[k] += len(inputs)
        squares += block.rest.to(torch.float64).square().sum(0)
        n, last = n + len(block), block
    if last is None:
        raise ValueError("Kronecker factors need training samples, got none")
    made = []
    for layer, (a, s), count in zip(last.scheme.layers, moments, positions, strict=True):
        values_a, basis_a = _descending(a / count)
        values_s, basis_s = _descending(s / n)
        parts = (basis_a, basis_s, torch.outer(values_s, values_a))
        made.append(KroneckerBlock(layer, *(t.to(last.rest.dtype) for t in parts)))
    return KroneckerOperator(last.scheme, tuple(made), (squares / n).to(last.rest.dtype))


def corrected(operator: KroneckerOperator, blocks: Iterable[Gradients]) -> KroneckerOperator:
    """Return EK-FAC: the same eigenvectors, with Λ = (1/n) Σ_i (Q_Sᵀ ∇_i Q_A)²."""
    sums = [torch.zeros_like(b.eigenvalues, dtype=torch.float64) for b in operator.blocks]
    n = 0
    for block in _factored(blocks):
        for k, (known, factors) in enumerate(zip(operator.blocks, block.layers, strict=True)):
            sums[k] += _squares(rotate(factors, known.inputs, known.errors))
        n += len(block)
    made = tuple(
        KroneckerBlock(b.layer, b.inputs, b.errors, (total / n).to(operator.dtype))
        for b, total in zip(operator.blocks, sums, strict=True)
    )
    return KroneckerOperator(operator.scheme, made, operator.diagonal)


def _factored(blocks: Iterable[Gradients]) -> Iterator[FactoredGradients]:
    for block in blocks:
        if not isinstance(block, FactoredGradients):
            raise ValueError(
                f"K-FAC and EK-FAC need factored gradients, got {type(block).__name__}; "
                "capture them unprojected, or name a factored store"
            )
        yield block


def _empty(factors: LinearFactors) -> tuple[Tensor, Tensor]:
    d_in, d_out = factors.inputs.shape[2] + factors.bias, factors.errors.shape[2]
    new = factors.inputs.new_zeros
    return new(d_in, d_in, dtype=torch.float64), new(d_out, d_out, dtype=torch.float64)


def _flat(factors: LinearFactors) -> tuple[Tensor, Tensor]:
    """Return a with the bias's 1, and e, in float64, one row a position."""
    a = factors.inputs.flatten(0, 1).to(torch.float64)
    if factors.bias:
        a = torch.cat([a, a.new_ones(len(a), 1)], 1)
    return a, factors.errors.flatten(0, 1).to(torch.float64)


def _descending(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, the largest first and none negative, and eigenvectors as columns."""
    values, vectors = torch.linalg.eigh((moment + moment.T) / 2)
    return values.flip(0).clamp_min(0.0), vectors.flip(1).contiguous()


def _squares(rotated: LinearFactors) -> Tensor:
    """Return Σ_i (Σ_t e_it a_itᵀ)², entry by entry, (d_out, d_in) in float64."""
    n, positions, d_in = rotated.inputs.shape
    d_out = rotated.errors.shape[2]
    if positions == 1:  # the square of an outer product is the outer product of the squares
        errors, inputs = rotated.errors[:, 0], rotated.inputs[:, 0]
        return errors.double().square().T @ inputs.double().square()
    total = rotated.inputs.new_zeros(d_out * d_in, dtype=torch.float64)
    rows = max(1, WORKSPACE // max(1, d_out * d_in))
    for i in range(0, n, rows):
        total += rotated[i : i + rows].dense().square_().sum(0, dtype=torch.float64)
    return total.view(d_out, d_in)
