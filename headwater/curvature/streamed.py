"""Operators whose products pass over the training data, in chunks that no result depends on."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import groupby
from typing import Self

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from headwater.batches import Batch, SampleTable, batch_size, joined, select, structure, to_device
from headwater.curvature.operator import SampleOperator
from headwater.kernels import differentiable_attention
from headwater.memory import rows_per_block
from headwater.task import BoundModel, SampleFunction

Products = Callable[[Tensor], Tensor]
"""Σ_i C_i v over the samples of one chunk, for each row v: (m, p) -> (m, p)."""


class StreamedOperator(SampleOperator):
    """C = (1/n) Σ_i C_i, where products with C_i are derivatives of the model at sample i.

    All vectors of a block share the graph of one chunk of samples. Both are as large as memory allows,
    where a sample counts with all that the model keeps of it for its derivative. The batches must be
    readable more than once; ValueError if there is no sample.
    """

    def __init__(
        self, model: BoundModel, function: SampleFunction, batches: Iterable[Batch]
    ) -> None:
        self.model, self.function, self.batches = model, function, batches
        self.size, self.dtype, self.device = model.layout.size, model.dtype, model.device
        self.n = sum(batch_size(batch) for batch in batches)
        self._table: SampleTable | None = None
        self._whole: list[Products] = []
        if self.n == 0:
            raise ValueError(f"{type(self).__name__} needs training samples, got none")

    @abstractmethod
    def linearised(self, batch: Batch) -> Products:
        """Compute what all products with one chunk of samples share, and return how they go on."""

    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v, (m, p)."""
        total = torch.zeros_like(rows)
        pairs = rows_per_block(self._activations, self.device)
        vectors = max(1, min(len(rows), pairs, rows_per_block(self.size, self.device)))
        with differentiable_attention():
            for products in self._linearised(max(1, pairs // vectors)):
                for i in range(0, len(rows), vectors):
                    total[i : i + vectors] += products(rows[i : i + vectors])
        return total.div_(self.n)

    def on(self, samples: Tensor) -> Self:
        """Return the mean over some samples; the data is kept in memory from now on."""
        if self._table is None:
            self._table = SampleTable(self.batches)
        part = type(self)(self.model, self.function, self._table.select(samples))
        part._activations = self._activations
        return part

    @cached_property
    def _activations(self) -> int:
        """Numbers per sample that f keeps for its derivative and that change with the parameters."""
        batch = to_device(next(iter(self.batches)), self.device)
        leaves = self.model.leaves()
        parameters = {t.untyped_storage().data_ptr() for t in leaves.values()}
        saved: dict[int, int] = {}

        def count(t: Tensor) -> Tensor:
            if t.requires_grad:
                saved[t.untyped_storage().data_ptr()] = t.numel()
            return t

        with torch.enable_grad(), differentiable_attention():
            with saved_tensors_hooks(count, lambda t: t):
                self.model.values(self.function, batch, leaves)
        numbers = sum(k for place, k in saved.items() if place not in parameters)
        return numbers // max(1, batch_size(batch)) + 1

    def _linearised(self, samples: int) -> Iterable[Products]:
        """Return the products of one chunk of samples after the other; a chunk of all is kept."""
        made = map(self.linearised, self._chunks(samples))
        if self.n > samples:
            return made
        # The next vectors, as those of a Krylov space, find it there.
        self._whole = self._whole or list(made)
        return self._whole

    def _chunks(self, samples: int) -> Iterator[Batch]:
        """Yield the data in batches of as many samples, fewer only where their structure changes."""
        for _, alike in groupby(self.batches, structure):
            waiting: list[Batch] = []
            room = samples
            for batch in alike:
                left = batch
                while batch_size(left):
                    waiting.append(select(left, slice(0, room)))
                    left, room = select(left, slice(room, None)), room - batch_size(waiting[-1])
                    if room == 0:
                        yield to_device(joined(waiting), self.device)
                        waiting, room = [], samples
            if waiting:
                yield to_device(joined(waiting), self.device)
