"""Linear systems for the tests of solvers."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.curvature import KeptBlocks, LinearOperator, RowOperator
from headwater.gradients import Gradients, concatenate


class Matrix(LinearOperator):
    """A dense symmetric matrix that counts how many vectors it was multiplied with."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.products = matrix, 0

    size = property(lambda self: len(self.matrix))
    dtype = property(lambda self: self.matrix.dtype)
    device = property(lambda self: self.matrix.device)

    def apply(self, rows: Tensor) -> Tensor:
        self.products += len(rows)
        return rows @ self.matrix


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def in_blocks(gradients: Gradients, size: int) -> KeptBlocks:
    """Return gradients as a source that has them in blocks."""
    starts = range(0, len(gradients), size)
    return KeptBlocks(tuple(gradients[start : start + size] for start in starts))


def row_operator(n: int = 12, p: int = 20) -> RowOperator:
    g = Gradients.of_vectors(random(n, p))
    return RowOperator(in_blocks(g, 5), random(n, seed=1).abs() + 0.1)


def gradients_of(operator: RowOperator) -> Gradients:
    """Return the gradients that an operator is made of, in one block."""
    return concatenate(list(operator.source.train_blocks()))
