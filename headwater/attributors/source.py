"""Where an attributor's gradients come from: captured from a task, or read from stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size, map_tensors
from headwater.gradients import GradientCapture, Gradients, GradientStore, concatenate
from headwater.progress import track
from headwater.task import AttributionTask, BoundModel, SampleFunction

__all__ = ["CapturedSource", "GradientSource", "Represent", "StoredSource"]

Represent = Callable[[Gradients, int], Gradients]
"""Turns gradients, and the number of their checkpoint, into those that a method works on."""


class GradientSource(ABC):
    """The gradients of one checkpoint, and the model they were taken of.

    Args:
        task: model, loss, target and checkpoints.
        index: which checkpoint.
        batches: the training data in order, for methods that need more than the gradients.
        test_batches: the test data in order.
    """

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        test_batches: Iterable[Batch] = (),
    ) -> None:
        self.task, self.index = task, index
        self.batches, self.test_batches = batches, test_batches

    @cached_property
    def model(self) -> BoundModel:
        """The model at this checkpoint."""
        return self.task.bind(self.index)

    @abstractmethod
    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients, block by block, in order."""

    @abstractmethod
    def test(self) -> Gradients:
        """Return the target's gradients at all test samples."""

    def train(self) -> Gradients:
        """Return all training gradients at once, for methods in Gram space."""
        return concatenate(list(self.train_blocks()))

    def train_values(self) -> Tensor:
        """Return the values of the function that the training gradients are of, (n,)."""
        return torch.cat([block.values for block in self.train_blocks()])


class CapturedSource(GradientSource):
    """Gradients captured from loaders and kept in memory, in the attributor's representation.

    Args:
        task: model, loss, target and checkpoints.
        index: which checkpoint.
        batches: the training loader.
        function: whose gradients are taken at the training samples; None: no gradients are taken.
        represent: turns captured gradients into what is kept (the identity, or a projection).
    """

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        function: SampleFunction | None,
        represent: Represent,
    ) -> None:
        super().__init__(task, index, batches)
        self._represent = represent
        self._train: list[Gradients] = []
        self._test: Gradients | None = None
        self._capture: GradientCapture | None = None
        if function is not None:
            self._capture = GradientCapture(self.model, function)
            self._train = self._captured(self._capture, batches, "training gradients")

    def _captured(
        self, capture: GradientCapture, batches: Iterable[Batch], what: str
    ) -> list[Gradients]:
        found: list[Gradients] = []
        done = 0
        for batch in track(batches, what):
            found.append(self._represent(capture(batch, first_row=done), self.index))
            done += len(found[-1])
        return found

    def capture_test(self, batches: Iterable[Batch]) -> None:
        """Take the test samples, and capture the target's gradients at them."""
        self.test_batches = batches
        capture = self._capture
        if capture is None:
            return
        if capture.function is not self.task.target:
            capture = GradientCapture(self.model, self.task.target)
        self._test = concatenate(self._captured(capture, batches, "test gradients"))

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the captured training gradients."""
        return iter(self._train)

    def test(self) -> Gradients:
        """Return the captured test gradients."""
        if self._test is None:
            raise ValueError("test gradients must be captured first, got none")
        return self._test


def _as_stored(gradients: Gradients, checkpoint: int) -> Gradients:
    return gradients


class StoredSource(GradientSource):
    """Gradients read from stores, one block in memory at a time.

    What `represent` makes of a block is not kept: every pass over the gradients makes it again.

    Args:
        task: model, loss, target and checkpoints.
        index: which checkpoint.
        batches: the training data in order.
        train: the store of the training split.
        test: the store of the test split; None where only self-influence is wanted.
        test_batches: the test data in order, for methods that need more than the gradients.
        represent: `Attributor.represent`, applied to what is read; default: as it is stored.
    """

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        train: GradientStore,
        test: GradientStore | None,
        test_batches: Iterable[Batch] = (),
        represent: Represent = _as_stored,
    ) -> None:
        super().__init__(task, index, batches, test_batches)
        self._train, self._test, self._represent = train, test, represent
        self._tests = slice(None)

    def first_tests(self, count: int) -> StoredSource:
        """Return the same source with the first test samples only."""
        left, kept = count, []
        for batch in self.test_batches:
            kept.append(map_tensors(batch, lambda t, left=left: t[:left]))  # type: ignore[misc]
            left -= batch_size(kept[-1])
            if left == 0:
                break
        first = StoredSource(
            self.task, self.index, self.batches, self._train, self._test, kept, self._represent
        )
        first._tests = slice(count)
        return first

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients, read from the store."""
        return self._read(self._train)

    def train_values(self) -> Tensor:
        """Return the values that are stored with the gradients, (n,)."""
        return torch.cat([block.values for block in self._train.blocks()])

    def test(self) -> Gradients:
        """Return the test gradients."""
        if self._test is None:
            raise ValueError("this source has no test samples, only self-influence can be computed")
        return concatenate(list(self._read(self._test)))[self._tests]

    def _read(self, store: GradientStore) -> Iterator[Gradients]:
        return (self._represent(block, self.index) for block in store.blocks())
