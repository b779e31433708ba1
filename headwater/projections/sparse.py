"""Sparse Johnson-Lindenstrauss: a few signs in every column, placed by a hash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.projections.tiles import TiledProjection

__all__ = ["SparseJL"]


@dataclass(frozen=True)
class SparseJL(TiledProjection):
    """Add every coordinate, with a random sign, to s of the k outputs (s = 1: count-sketch).

    (Px)_b = (1/√s) Σ_j Σ_r σ_jr x_j [b_jr = b], with output b_jr drawn from the r-th of s equal
    parts of the outputs: every column of P has norm 1 exactly. Cost: n p s additions, whatever k.

    Args:
        dimension: k.
        seed: what outputs and signs are drawn from.
        checkpoint: every checkpoint has a map of its own.
        nonzeros: s, outputs that a coordinate is added to, at most k.

    Raises:
        ValueError: if there are more non-zeros than outputs.

    Reference:
        Kane and Nelson, Sparser Johnson-Lindenstrauss Transforms, JACM 2014.

    Example:
        >>> SparseJL(dimension=3)(torch.ones(1, 3)).abs().sum() % 2
        tensor(1.)
    """

    nonzeros: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        check_positive("the projection's nonzeros", self.nonzeros)
        if self.nonzeros > self.dimension:
            raise ValueError(
                f"nonzeros must be at most the dimension, got {self.nonzeros} of {self.dimension}; "
                "use fewer nonzeros or a larger dimension"
            )

    @property
    def scale(self) -> float:
        """1/√s."""
        return float(self.nonzeros**-0.5)

    def tile(self, index: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return output b (rows, s) and sign σ (rows, s) of each coordinate of a tile."""
        s = self.nonzeros
        words = self.generator(index).bit_generator.random_raw(rows * s).reshape(rows, s)
        signs = (words & np.uint64(1)).astype(np.float32) * 2.0 - 1.0
        edges = np.arange(s + 1, dtype=np.uint64) * np.uint64(self.dimension) // np.uint64(s)
        # The upper 32 bits as a fraction of 2^32 of the part's width.
        within = (words >> np.uint64(32)) * np.diff(edges) >> np.uint64(32)
        return torch.from_numpy((edges[:-1] + within).astype(np.int64)), torch.from_numpy(signs)

    def add_tile(self, out: Tensor, columns: Tensor, index: int) -> None:
        """Add the signed columns to their outputs."""
        outputs, signs = (t.to(out.device) for t in self.tile(index, columns.shape[1]))
        for r in range(self.nonzeros):
            out.index_add_(1, outputs[:, r], columns * signs[:, r].to(out.dtype))
