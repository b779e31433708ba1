"""Operators that are means over training samples, and the choice of some of the samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.batches import (
    Batch,
    batch_size,
    sample_tensors,
    select,
    structure,
    with_sample_tensors,
)
from headwater.curvature.operator import LinearOperator

__all__ = ["SampleOperator", "select_samples"]


class SampleOperator(LinearOperator):
    """C = (1/n) Σ_i C_i, one term a training sample."""

    n: int
    """The number of training samples."""

    @abstractmethod
    def on(self, samples: Tensor) -> LinearOperator:
        """Return (1/b) Σ_{i ∈ samples} C_i for b sample numbers, rising, in the order of the data."""


def select_samples(batches: Sequence[Batch], samples: Tensor) -> list[Batch]:
    """Return some samples of batches, as one batch where the batches' shapes allow it.

    Args:
        batches: in memory, in order.
        samples: numbers of samples over all batches, (b,), rising.

    Returns:
        A list of one batch, or of one a given batch where these differ in shape, or in what they
        hold beside tensors.

    Raises:
        IndexError: if a number is not that of a sample.
    """
    sizes = [batch_size(batch) for batch in batches]
    if len(samples) and not 0 <= int(samples.min()) <= int(samples.max()) < sum(sizes):
        raise IndexError(f"samples must be in 0..{sum(sizes) - 1}, got {int(samples.max())}")
    chosen, start = [], 0
    for batch, size in zip(batches, sizes, strict=True):
        rows = samples[(samples >= start) & (samples < start + size)] - start
        if len(rows):
            chosen.append(select(batch, rows))
        start += size
    if len({structure(batch) for batch in chosen}) != 1:
        return chosen
    parts = zip(*(sample_tensors(batch) for batch in chosen), strict=True)
    return [with_sample_tensors(chosen[0], [torch.cat(part) for part in parts])]
