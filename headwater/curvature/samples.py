"""Operators that are means over training samples, and the choice of some of the samples."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size, map_tensors, tensors_of, with_tensors
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
            chosen.append(map_tensors(batch, lambda t, rows=rows: t[rows.to(t.device)]))  # type: ignore[misc]
        start += size
    if not all(_alike(chosen[0], batch) for batch in chosen):
        return chosen
    parts = zip(*(tensors_of(batch) for batch in chosen), strict=True)
    return [with_tensors(chosen[0], [torch.cat(part) for part in parts])] if chosen else []


def _alike(first: Batch, second: Batch) -> bool:
    """Tell whether two batches differ in their samples only, so that these may become one batch."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape[1:] == second.shape[1:] and first.dtype == second.dtype
    if type(first) is not type(second):
        return False
    if dataclasses.is_dataclass(first):
        names = [f.name for f in dataclasses.fields(first)]
        return all(_alike(getattr(first, name), getattr(second, name)) for name in names)
    if isinstance(first, dict):
        return list(first) == list(second) and all(_alike(first[k], second[k]) for k in first)
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(_alike, first, second))
    return first is second or (first == second) is True  # an array would answer with an array
