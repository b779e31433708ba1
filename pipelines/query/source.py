"""Stored training gradients beside the captured gradients of new samples."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Self

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.attributors.grad_dot import GradCos, GradDot
from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.attributors.influence_function import InfluenceFunction
from headwater.batches import Batch, batch_size, select
from headwater.gradients import GradientCapture, Gradients, GradientStore, concatenate
from headwater.gradients.source import StoredSource
from headwater.projections import GradientProjection
from headwater.solvers import State

__all__ = ["NewSource", "at_rows", "scores_rows"]

PER_SAMPLE = ("products", "relative", "features")
"""What `InfluenceFunction.solve` returns with one row per training sample."""


class NewSource(StoredSource):
    """The source of a store, with test samples that are captured in place of stored ones.

    Args:
        attributor: for whom it is.
        index: of the checkpoint.
        batches: the training data in order.
        train: the store of the training gradients.
        new: batches of new samples.
        projection: that of the store, if its gradients are projected.
    """

    def __init__(
        self,
        attributor: Attributor,
        index: int,
        batches: Iterable[Batch],
        train: GradientStore,
        new: Iterable[Batch],
        projection: GradientProjection | None,
    ) -> None:
        form = (
            (attributor.represent, attributor.train_function)
            if isinstance(attributor, GradientAttributor)
            else ()
        )
        super().__init__(attributor.task, index, batches, train, None, new, *form)
        self._projection, self._kept = projection, train
        self._rows: Tensor | None = None

    def at_rows(self, rows: Tensor) -> Self:
        """Return the same source with some of the training gradients, by ascending numbers.

        `n`, which the unit of scores depends on, stays that of all.
        """
        part = copy.copy(self)
        part._rows = rows.to(self.device)
        return part

    def values(self) -> Tensor:
        """Return the values that are stored with the gradients."""
        values = super().values()
        return values if self._rows is None else values[self._rows]

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients; blocks without one of the rows are not read."""
        if self._rows is None:
            yield from super().train_blocks()
            return
        size = self._kept.block
        for number in torch.unique(self._rows // size).tolist():
            here = self._rows[self._rows // size == number] - number * size
            yield self.represent(self._kept.read(number)[here])

    def test(self) -> Gradients:
        """Return the target's gradients at the new samples, as the store would have them.

        Each batch is captured with a training sample beside it: one sample alone does not show a
        capture which dimension is that of the samples.
        """
        capture, found = GradientCapture(self.model, self.task.target), []
        other = select(next(iter(self.batches)), slice(1))
        for batch in self.test_batches:
            both = tuple(torch.cat(pair) for pair in zip(batch, other, strict=True))
            gradients = capture(both)[: batch_size(batch)]
            found.append(self.represent(self._stored(gradients)))
        return concatenate(found)

    def _stored(self, gradients: Gradients) -> Gradients:
        if self._projection is not None:
            return gradients.project(self._projection.for_checkpoint(self.index))
        if self._kept.description.representation == "dense":
            return Gradients.of_vectors(gradients.dense(), gradients.values)
        return gradients


def scores_rows(attributor: Attributor) -> bool:
    """Return whether a method can score some training samples without the gradients of the others.

    Methods that are not known to do so score all, and those that are wanted are picked.
    """
    known = isinstance(attributor, InfluenceFunction | GradDot | GradCos)
    return known and getattr(attributor, "soft_threshold", None) is None


def at_rows(solved: State, rows: Tensor) -> State:
    """Return what was solved, with only some rows of what has one per training sample."""
    return {name: t[rows.to(t.device)] if name in PER_SAMPLE else t for name, t in solved.items()}
