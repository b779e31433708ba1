"""Sparse Johnson-Lindenstrauss: a few signs in every column, placed by a hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.hashing import random_below, random_words
from headwater.memory import rows_per_block
from headwater.projections.projection import Add, TiledProjection


@dataclass(frozen=True)
class SparseJL(TiledProjection):
    """Add every coordinate, with a random sign, to s of the k outputs (s = 1: count-sketch).

    (Px)_b = (1/√s) Σ_j Σ_r σ_jr x_j [b_jr = b], with output b_jr drawn from the r-th of s equal
    parts of the outputs: every column of P has norm 1 exactly. Cost: n p s additions, whatever k.

    Args:
        nonzeros: s, outputs that a coordinate is added to, at most k.

    Reference:
        Kane and Nelson, Sparser Johnson-Lindenstrauss Transforms, JACM 2014.
    """

    nonzeros: int = 1
    copies: ClassVar[int] = 4  # the gradients, formed and cut to the tile, and with their signs

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("the projection's nonzeros", self.nonzeros)
        if self.dimension != "auto" and self.nonzeros > self.dimension:
            raise ValueError(
                f"nonzeros must be at most the dimension, got {self.nonzeros} of {self.dimension}; "
                "use fewer nonzeros or a larger dimension"
            )

    @property
    def scale(self) -> float:
        """1/√s."""
        return float(self.nonzeros**-0.5)

    def places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs b and signs σ = ±1 of coordinates (...), int64 (..., s)."""
        s = self.nonzeros
        words = random_words(self.key("sparse"), index, s)
        edges = torch.arange(s + 1, device=index.device) * self.k // s
        outputs = edges[:-1] + random_below(words, edges.diff())
        return outputs, (words & 1).to(torch.int64) * 2 - 1  # the bit that the output leaves

    def width(self, device: torch.device) -> int:
        """Return how many coordinates of 32 samples stay in fast memory: sums are fast along rows."""
        return rows_per_block(32, device)

    def units(self, index: Tensor, size: int) -> Tensor:
        """Return the columns of P at index (...), (..., k), in float64."""
        outputs, signs = self.places(index)
        zeros = torch.zeros(*index.shape, self.k, dtype=torch.float64, device=index.device)
        return zeros.scatter_(-1, outputs, signs.double() * self.scale)

    def tile(self, index: Tensor, dtype: torch.dtype) -> Add:
        """Return the sum of signed columns into their outputs."""
        outputs, signs = self.places(index)
        signs = signs.to(dtype)

        def add(out: Tensor, columns: Tensor) -> None:
            for r in range(self.nonzeros):
                add_columns(out, outputs[:, r], columns * signs[:, r])

        return add


def add_columns(out: Tensor, places: Tensor, columns: Tensor) -> None:
    """Add columns (n, t) to those of out (n, k) at places (t,), in the same order every time."""
    if out.is_cuda:  # index_add_ would add in any order there, while index_put_ sorts the places
        out.T.index_put_((places,), columns.T, accumulate=True)
    else:
        out.index_add_(1, places, columns)
