"""Linear systems for the tests of solvers."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.curvature import LinearOperator, RowOperator
from headwater.gradients import Gradients


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


def row_operator(n: int = 12, p: int = 20) -> RowOperator:
    return RowOperator.of(Gradients.of_vectors(random(n, p)), random(n, seed=1).abs() + 0.1)
