"""Gradients in directions that were fitted to the training data: a learned projection at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from headwater.gradients import Gradients
from headwater.gradients.source import GradientSource
from headwater.memory import row_blocks
from headwater.solvers import LearnedProjection

__all__ = ["FittedSource", "fit"]


def fit(projection: LearnedProjection, source: GradientSource) -> dict[str, Tensor]:
    """Return {"basis": P (k, p), "features": P∇f_i at all training samples (n, k)}."""
    basis = projection.fit(source)
    parts = [block.inner_vectors(basis) for block in source.train_blocks()]
    return {"basis": basis, "features": torch.cat(parts)}


class FittedSource(GradientSource):
    """The gradients of a source in the directions of a learned projection.

    Args:
        source: of whole gradients.
        state: what `fit` returned; "features" are enough for the training gradients.
    """

    def __init__(self, source: GradientSource, state: Mapping[str, Tensor]) -> None:
        super().__init__(source.task, source.index, source.batches, function=source.function)
        self._source, self._state = source, state

    @property
    def n(self) -> int:
        """The number of training samples."""
        return len(self._state["features"])

    def values(self) -> Tensor:
        """Return the values that the training gradients were taken at, (n,)."""
        return self._source.values()

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the features."""
        features, values = self._state["features"], self.values()
        for rows in row_blocks(self.n, features.shape[1], features.device):
            yield Gradients.of_vectors(features[rows], values[rows])

    def test(self) -> Gradients:
        """Return P∇f_j at the test samples."""
        test = self._source.test()
        return Gradients.of_vectors(test.inner_vectors(self._state["basis"]), test.values)
