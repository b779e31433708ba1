"""Slow twins of the methods that follow a training run: dense matrices and one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DenseStep = tuple[Tensor, Sequence[int], float, float]
"""The gradients of all samples (n, p) before the step, its samples, its rate and its decay."""


def data_values(steps: Sequence[DenseStep], test: Tensor) -> Tensor:
    """-Σ_t (η/|B|) ⟨g_i, u_j⟩ going back, with the dense Fisher matrix of each batch, (n, m)."""
    n, p = steps[0][0].shape
    scores = torch.zeros(n, len(test), dtype=test.dtype)
    for j, f in enumerate(test):
        u = f.clone()
        for gradients, rows, rate, decay in reversed(steps):
            for i in rows:
                scores[i, j] -= rate / len(rows) * (gradients[i] @ u)
            matrix = decay * torch.eye(p, dtype=test.dtype)
            for i in rows:
                matrix = matrix + torch.outer(gradients[i], gradients[i]) / len(rows)
            u = u - rate * matrix @ u
    return scores


def unrolled(steps: Sequence[DenseStep], matrices: Sequence[Tensor]) -> Tensor:
    """dθ_T/dw_i going forward, w_i the weight of sample i in every batch that holds it, (n, p)."""
    n, p = steps[0][0].shape
    moved = torch.zeros(n, p, dtype=steps[0][0].dtype)
    for (gradients, rows, rate, decay), matrix in zip(steps, matrices, strict=True):
        moved = moved - rate * (moved @ matrix.T + decay * moved)
        for i in rows:
            moved[i] -= rate / len(rows) * gradients[i]
    return moved
