"""Where the gradients at one checkpoint come from: captured from loaders, or read from stores."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Self

from torch import Tensor

from headwater.batches import Batch, batch_size, select
from headwater.gradients.capture import GradientCapture
from headwater.gradients.captured import CapturedGradients, Pieces
from headwater.gradients.gradients import Gradients, concatenate
from headwater.gradients.spill import Allowance
from headwater.gradients.store import GradientStore
from headwater.loader import LoadedData
from headwater.memory import LARGE, row_blocks
from headwater.task import AttributionTask, BoundModel, SampleFunction

Represent = Callable[[Gradients, int], Gradients]  # the number of their checkpoint comes second


def as_captured(gradients: Gradients, checkpoint: int) -> Gradients:
    """Return the gradients as they are."""
    return gradients


class GradientSource(ABC):
    """The gradients of one checkpoint, the model they were taken of, and the samples.

    The training data can be read more than once. Its gradients are those of a `function`, by default
    the loss; `represent` turns gradients into those that a method works on, by default as they are.
    """

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        test_batches: Iterable[Batch] = (),
        function: SampleFunction | None = None,
        represent: Represent = as_captured,
    ) -> None:
        self.task, self.index, self.batches = task, index, batches
        self.device = task.device
        self.function = task.loss if function is None else function
        self._represent, self._test_batches = represent, test_batches
        self._tests: slice | None = None

    @cached_property
    def model(self) -> BoundModel:
        """The model at this checkpoint."""
        return self.task.bind(self.index)

    @property
    @abstractmethod
    def n(self) -> int:
        """The number of training samples."""

    @abstractmethod
    def values(self) -> Tensor:
        """Return the values that the training gradients were taken at, (n,); no gradient is read."""

    @abstractmethod
    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients, block by block, in order."""

    @abstractmethod
    def test(self) -> Gradients:
        """Return the target's gradients at the test samples."""

    def test_blocks(self) -> Iterator[Gradients]:
        """Yield them block by block, as they are kept; default: in one block."""
        yield self.test()

    def represent(self, gradients: Gradients) -> Gradients:
        """Return captured gradients as this source has them: projected, or as they are."""
        return self._represent(gradients, self.index)

    def numbered_blocks(self, width: int) -> Iterator[tuple[slice, Gradients]]:
        """Yield (which samples, their gradients), so few that rows of `width` scores fit in memory."""
        start = 0
        for block in self.train_blocks():
            for rows in row_blocks(len(block), width, self.device, numbers=LARGE):
                yield slice(start + rows.start, start + rows.stop), block[rows]
            start += len(block)

    def factor_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients with inputs and output gradients, captured anew."""
        capture = GradientCapture(self.model, self.function, keep_factors=True)
        pieces = Pieces(capture, Allowance(self.task.memory_budget // 2))
        for batch in self.batches:
            yield from pieces(batch)

    @property
    def test_batches(self) -> Iterable[Batch]:
        """The test data in order."""
        if self._tests is None:
            return self._test_batches
        found, first = [], 0
        for batch in self._test_batches:
            size = batch_size(batch)
            low, high = max(self._tests.start - first, 0), min(self._tests.stop - first, size)
            if low < high:
                found.append(select(batch, slice(low, high)))
            first += size
            if first >= self._tests.stop:
                break
        return found

    def at_tests(self, tests: slice) -> Self:
        """Return the same source with some of the test samples, start … stop, and no others."""
        part = copy.copy(self)
        part._tests = slice(tests.start or 0, tests.stop)
        return part


class CapturedSource(GradientSource):
    """Gradients captured from loaders, in memory up to half of the task's budget, in files beyond it.

    They are captured when they are first asked for; at several checkpoints in one pass by
    `capture_together`, or, where all are asked for `once`, anew in each pass. A quarter of the budget
    is for the data itself, which several sources may share, as they may share an allowance of memory.
    """

    batches: LoadedData

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        function: SampleFunction | None = None,
        represent: Represent = as_captured,
        allowance: Allowance | None = None,
        once: bool = False,
    ) -> None:
        data = LoadedData.of(batches, "batches", task.memory_budget // 4)
        super().__init__(task, index, data, (), function, represent)
        self._allowance = Allowance(task.memory_budget // 2) if allowance is None else allowance
        self.gradients = self._of(GradientCapture(self.model, self.function), data, once)
        self._test_gradients: CapturedGradients | None = None

    def _of(
        self, capture: GradientCapture, data: LoadedData, once: bool = False, meets: int = 0
    ) -> CapturedGradients:
        represent, index = self._represent, self.index  # the source itself would be a circle

        def kept(gradients: Gradients) -> Gradients:
            return represent(gradients, index).formed_for(meets, meets)

        return CapturedGradients(capture, kept, data, self._allowance, once, joined=meets > 0)

    def with_tests(
        self, batches: Iterable[Batch], target: SampleFunction | None = None, meets: int = 0
    ) -> Self:
        """Return the source with test samples, kept as products with `meets` others need them."""
        target = self.task.target if target is None else target
        data = LoadedData.of(batches, "test batches", self.task.memory_budget // 4)
        known = self.gradients.capture
        capture = known if known.function is target else GradientCapture(self.model, target)
        tested = copy.copy(self)
        tested._tests, tested._test_batches = None, data
        tested._test_gradients = self._of(capture, data, meets=meets)
        return tested

    @property
    def test_gradients(self) -> CapturedGradients:
        """Those of all test samples."""
        if self._test_gradients is None:
            raise ValueError("a source must have test samples, got none; take it with_tests")
        return self._test_gradients

    @property
    def n(self) -> int:
        """The number of training samples."""
        return self.batches.n

    def values(self) -> Tensor:
        """Return the values that the training gradients were taken at, (n,)."""
        return self.gradients.blocks.values()

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the captured training gradients."""
        return iter(self.gradients)

    @property
    def keeps_factors(self) -> bool:
        """Whether the training gradients are as captured, and none has been formed from factors."""
        return len(self.gradients.blocks) > 0 and self.gradients.keeps_factors

    def factor_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients with inputs and output gradients; if need be captured anew."""
        return self.train_blocks() if self.keeps_factors else super().factor_blocks()

    def test(self) -> Gradients:
        """Return the captured test gradients."""
        return concatenate(list(self.test_blocks()))

    def test_blocks(self) -> Iterator[Gradients]:
        """Yield the captured test gradients, those in memory without a copy."""
        return self.test_gradients.blocks.between(self._tests or slice(None))


class StoredSource(GradientSource):
    """Gradients read from stores, a block in memory at a time: a pass represents them again."""

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        train: GradientStore,
        test: GradientStore | None,
        test_batches: Iterable[Batch] = (),
        represent: Represent = as_captured,
        function: SampleFunction | None = None,
    ) -> None:
        super().__init__(task, index, batches, test_batches, function, represent)
        self._train, self._test = train, test

    @property
    def n(self) -> int:
        """The number of training samples."""
        return self._train.n

    def values(self) -> Tensor:
        """Return the values that are stored with the gradients, (n,)."""
        return self._train.values()

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients, read from the store."""
        return map(self.represent, self._train.blocks())

    def test(self) -> Gradients:
        """Return the test gradients, read from the store."""
        if (store := self._test) is None:
            raise ValueError("this source has no test samples, only self-influence can be computed")
        start, stop, _ = (self._tests or slice(None)).indices(store.n)
        first = start // store.block
        blocks = map(store.read, range(first, -(-stop // store.block)))
        found = concatenate([*map(self.represent, blocks)])
        return found[start - first * store.block : stop - first * store.block]
