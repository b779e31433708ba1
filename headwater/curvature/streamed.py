"""Operators whose products pass over the training data, in chunks that no result depends on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from headwater.batches import Batch, batch_size, select, to_device
from headwater.curvature.samples import SampleOperator, select_samples
from headwater.task import BoundModel, SampleFunction

__all__ = ["Products", "StreamedOperator"]

Products = Callable[[Tensor], Tensor]
"""Σ_i C_i v over the samples of one chunk, for each row v: (m, p) -> (m, p)."""

PAIRS = {"cpu": 2**15, "cuda": 2**20}
"""Samples × vectors in flight: full GEMMs, and on a CPU activations that stay in its cache."""
VECTORS = {"cpu": 16, "cuda": 256}
"""Vectors that share the activations of one chunk, where there are samples enough."""
NUMBERS = {"cpu": 2**22, "cuda": 2**28}
"""That a block of vectors holds where it need not be larger: on a CPU, memory that malloc keeps for the
next block. What it gives back must be cleared page by page, at the cost of the product itself."""

KEPT = 2**28
"""Bytes of a graph that may be kept between two products."""
GRADIENT = 3
"""How much more than the graph of a function that of its gradient holds, at most."""


class StreamedOperator(SampleOperator):
    """C = (1/n) Σ_i C_i, where products with C_i are derivatives of the model at sample i.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,), the loss.
        batches: the training data, readable more than once.

    Raises:
        ValueError: if there is no sample.
    """

    def __init__(
        self, model: BoundModel, function: SampleFunction, batches: Iterable[Batch]
    ) -> None:
        self.model, self.function, self.batches = model, function, batches
        self.n = sum(batch_size(batch) for batch in batches)
        self._kept: list[Batch] | None = None
        self._whole: list[tuple[int, Products]] | None = None
        if self.n == 0:
            raise ValueError(f"{type(self).__name__} needs training samples, got none")

    @abstractmethod
    def linearised(self, batch: Batch) -> Products:
        """Compute what all products with one chunk of samples share, and return how they go on."""

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.model.layout.size

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next(iter(self.model.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return self.model.device

    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v, (m, p)."""
        total = torch.zeros_like(rows)
        kind = self.device.type if self.device.type in PAIRS else "cuda"
        few = max(1, min(len(rows), VECTORS[kind]))
        for size, products in self._linearised(max(1, PAIRS[kind] // few)):
            vectors = max(few, min(PAIRS[kind] // size, NUMBERS[kind] // self.size))
            for i in range(0, len(rows), vectors):
                total[i : i + vectors] += products(rows[i : i + vectors])
        return total.div_(self.n)

    def on(self, samples: Tensor) -> Self:
        """Return the mean over some samples; the data is kept in memory from now on."""
        return type(self)(self.model, self.function, select_samples(self._in_memory(), samples))

    def _in_memory(self) -> list[Batch]:
        if self._kept is None:
            self._kept = list(self.batches)
        return self._kept

    def _linearised(self, samples: int) -> Iterator[tuple[int, Products]]:
        """Yield the size and the products of one chunk after the other.

        What fits into one chunk is kept: the next vectors, as those of a Krylov space, find it there.
        No chunk is larger than a batch of the loader, unless it is known to be small.
        """
        if self.n > samples or not self._is_small:
            for chunk in self._chunks(samples):
                yield batch_size(chunk), self.linearised(chunk)
            return
        if self._whole is None:
            together = select_samples(self._in_memory(), torch.arange(self.n))
            chunks = [to_device(batch, self.device) for batch in together]
            self._whole = [(batch_size(chunk), self.linearised(chunk)) for chunk in chunks]
        yield from self._whole

    @cached_property
    def _is_small(self) -> bool:
        """Whether all samples may be one chunk that is kept: judged by the first batch's graph."""
        first = next(iter(self.batches))
        if batch_size(first) == self.n:
            return True
        theta = {name: t.detach().requires_grad_() for name, t in self.model.parameters.items()}
        saved: list[int] = []

        def count(t: Tensor) -> Tensor:
            saved.append(t.nbytes)
            return t

        with torch.enable_grad(), saved_tensors_hooks(count, lambda t: t):
            self.model.values(self.function, to_device(first, self.device), theta)
        return GRADIENT * sum(saved) * self.n <= KEPT * batch_size(first)

    def _chunks(self, samples: int) -> Iterator[Batch]:
        for batch in self.batches:
            for i in range(0, batch_size(batch), samples):
                yield to_device(select(batch, slice(i, i + samples)), self.device)
