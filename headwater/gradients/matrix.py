"""How the gradient of a weight matrix, and of the bias beside it, lies in a vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Matrix:
    """The shape (d_out, d_in) of a weight whose module computes W x + b.

    As a vector the weight comes first, as its parameter is stored, (d_out, d_in) or transposed, then
    the bias. As a matrix the bias is the last column: the weight of one more input that is always 1.
    """

    d_out: int
    d_in: int
    bias: bool = False
    transposed: bool = False

    @property
    def width(self) -> int:
        """Numbers in one vector: d_out · d_in (+ d_out)."""
        return self.d_out * (self.d_in + self.bias)

    @property
    def columns(self) -> int:
        """Columns of the matrix: d_in (+ 1)."""
        return self.d_in + self.bias

    def split(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (n, d_out, d_in) and biases (n, d_out or 0) of vectors (n, width)."""
        weights, biases = vectors.tensor_split([self.d_out * self.d_in], 1)
        if self.transposed:
            return weights.unflatten(1, (self.d_in, self.d_out)).mT, biases
        return weights.unflatten(1, (self.d_out, self.d_in)), biases

    def join(self, weights: Tensor, biases: Tensor | None) -> Tensor:
        """Return the vectors (n, width) of weights (n, d_out, d_in) and biases (n, d_out)."""
        flat = (weights.mT if self.transposed else weights).flatten(1)
        return torch.cat([flat, biases], 1) if self.bias and biases is not None else flat

    def matrices(self, vectors: Tensor) -> Tensor:
        """Return vectors (n, width) as matrices (n, d_out, d_in (+ 1))."""
        weights, biases = self.split(vectors)
        return torch.cat([weights, biases.unsqueeze(2)], 2) if self.bias else weights

    def vectors(self, matrices: Tensor) -> Tensor:
        """Return matrices (n, d_out, d_in (+ 1)) as vectors (n, width)."""
        return self.join(matrices[:, :, : self.d_in], matrices[:, :, self.d_in :].flatten(1))

    def places(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column of coordinates (k,) of a vector; a bias has the column d_in."""
        rows, columns = coordinates // self.d_in, coordinates % self.d_in
        if self.transposed:
            rows, columns = coordinates % self.d_out, coordinates // self.d_out
        biases = coordinates - self.d_out * self.d_in
        return torch.where(biases < 0, rows, biases), columns.masked_fill(biases >= 0, self.d_in)
