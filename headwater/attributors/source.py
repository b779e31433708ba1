"""Where an attributor's gradients come from: captured from a task, or read from stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from headwater.batches import Batch
from headwater.gradients import GradientCapture, Gradients, GradientStore, concatenate
from headwater.progress import track
from headwater.task import AttributionTask, BoundModel, SampleFunction

__all__ = ["CapturedSource", "GradientSource", "StoredSource"]


class GradientSource(ABC):
    """The gradients of one checkpoint, and the model they were taken of.

    Args:
        task: model, loss, target and checkpoints.
        index: which checkpoint.
        batches: the training data in order, for curvatures that need more than the gradients.
    """

    def __init__(self, task: AttributionTask, index: int, batches: Iterable[Batch]) -> None:
        self.task, self.index, self.batches = task, index, batches

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


class CapturedSource(GradientSource):
    """Gradients captured from loaders and kept in memory, in the attributor's representation.

    Args:
        task: model, loss, target and checkpoints.
        index: which checkpoint.
        batches: the training loader.
        function: whose gradients are taken at the training samples.
        represent: turns captured gradients into what is kept (the identity, or a projection).
    """

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        function: SampleFunction,
        represent: Callable[[Gradients, int], Gradients],
    ) -> None:
        super().__init__(task, index, batches)
        self._represent = represent
        self._train = self._capture(function, batches, "training gradients")
        self._test: Gradients | None = None

    def _capture(
        self, function: SampleFunction, batches: Iterable[Batch], what: str
    ) -> list[Gradients]:
        capture = GradientCapture(self.model, function)
        found: list[Gradients] = []
        done = 0
        for batch in track(batches, what):
            found.append(self._represent(capture(batch, first_row=done), self.index))
            done += len(found[-1])
        if not found:
            raise ValueError(f"the loader of the {what} must yield batches, got none")
        return found

    def capture_test(self, batches: Iterable[Batch]) -> None:
        """Capture the target's gradients at the test samples."""
        self._test = concatenate(self._capture(self.task.target, batches, "test gradients"))

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the captured training gradients."""
        return iter(self._train)

    def test(self) -> Gradients:
        """Return the captured test gradients."""
        if self._test is None:
            raise ValueError("test gradients must be captured first, got none")
        return self._test


class StoredSource(GradientSource):
    """Gradients read from stores, one block in memory at a time.

    Args:
        task: model, loss, target and checkpoints.
        index: which checkpoint.
        batches: the training data in order.
        train: the store of the training split.
        test: the store of the test split; None where only self-influence is wanted.
    """

    def __init__(
        self,
        task: AttributionTask,
        index: int,
        batches: Iterable[Batch],
        train: GradientStore,
        test: GradientStore | None,
    ) -> None:
        super().__init__(task, index, batches)
        self._train, self._test = train, test

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients, read from the store."""
        return self._train.blocks()

    def test(self) -> Gradients:
        """Return the test gradients."""
        if self._test is None:
            raise ValueError("this source has no test samples, only self-influence can be computed")
        return concatenate(list(self._test.blocks()))
