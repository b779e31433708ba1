"""The training samples in memory, to be found by number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

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


class SampleTable:
    """Batches kept in memory, joined where they are alike, so that samples are found by number."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.parts = [joined(list(same)) for _, same in groupby(batches, structure)]
        ends = torch.tensor([batch_size(part) for part in self.parts]).cumsum(0)
        self.n, self._ends = int(ends[-1]) if len(ends) else 0, ends

    def select(self, samples: Tensor) -> list[Batch]:
        """Return samples (b,), in ascending order, as few batches: one, where all of them are alike.

        Raises:
            IndexError: if a number is not that of a sample.
        """
        if len(samples) and not 0 <= int(samples[0]) <= int(samples[-1]) < self.n:
            raise IndexError(f"samples must be in 0..{self.n - 1}, got {samples.tolist()}")
        chosen = []
        which, counts = torch.bucketize(samples, self._ends, right=True).unique_consecutive(
            return_counts=True
        )
        for part, rows in zip(which.tolist(), samples.split(counts.tolist()), strict=True):
            start = int(self._ends[part - 1]) if part else 0
            chosen.append(select(self.parts[part], rows - start))
        if len({structure(batch) for batch in chosen}) == 1:
            return [joined(chosen)]
        return chosen


def joined(batches: Sequence[Batch]) -> Batch:
    """Return batches of one structure as one batch."""
    if len(batches) == 1:
        return batches[0]
    parts = zip(*(sample_tensors(batch) for batch in batches), strict=True)
    return with_sample_tensors(batches[0], [torch.cat(part) for part in parts])
