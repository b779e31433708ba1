"""Slow twins of the methods that follow a training run: dense matrices and one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DenseStep = tuple[Tensor, Sequence[int], float, float]
"""The gradients of all samples (n, p) before the step, its samples, its rate and its decay."""


def data_values(steps: Sequence[DenseStep], test: Tensor) -> Tensor:
    """-Σ_t (η/|B|) ⟨g_i, u_j⟩ going back, u ← (I - ηH)₊ u with dense Fisher matrices, (n, m)."""
    n, p = steps[0][0].shape
    scores = torch.zeros(n, len(test), dtype=test.dtype)
    for j, f in enumerate(test):
        u = f.clone()
        for gradients, rows, rate, decay in reversed(steps):
            for i in rows:
                scores[i, j] -= rate / len(rows) * (gradients[i] @ u)
            matrix = torch.zeros(p, p, dtype=test.dtype)
            for i in rows:
                matrix = matrix + torch.outer(gradients[i], gradients[i]) / len(rows)
            u = forgetting(matrix, rate, decay) @ u
    return scores


def forgetting(matrix: Tensor, rate: float, decay: float) -> Tensor:
    """(1 - η wd) I - ηH, negative eigenvalues set to zero."""
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    values, vectors = torch.linalg.eigh((1.0 - rate * decay) * eye - rate * matrix)
    return vectors @ torch.diag(values.clamp_min(0.0)) @ vectors.T


def unrolled(steps: Sequence[DenseStep], matrices: Sequence[Tensor]) -> Tensor:
    """dθ_T/dw_i going forward, w_i the weight of sample i in every batch that holds it, (n, p)."""
    eye = torch.eye(len(matrices[0]), dtype=matrices[0].dtype)
    transitions = [
        eye - rate * (matrix + decay * eye)
        for (_, _, rate, decay), matrix in zip(steps, matrices, strict=True)
    ]
    return carried(steps, transitions)


def carried(steps: Sequence[DenseStep], transitions: Sequence[Tensor]) -> Tensor:
    """What the weight of each sample has done to θ_T, where a step turns a change d into M d."""
    n, p = steps[0][0].shape
    moved = torch.zeros(n, p, dtype=steps[0][0].dtype)
    for (gradients, rows, rate, _), transition in zip(steps, transitions, strict=True):
        moved = moved @ transition.T
        for i in rows:
            moved[i] -= rate / len(rows) * gradients[i]
    return moved
