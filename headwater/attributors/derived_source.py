"""Sources whose gradients are made from those of another: in learned directions, or of single tokens."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from headwater.gradients import Gradients
from headwater.gradients.source import GradientSource
from headwater.memory import row_blocks
from headwater.solvers import LearnedProjection


class DerivedSource(GradientSource):
    """A source with other training gradients, and test gradients made from its own."""

    def __init__(
        self,
        source: GradientSource,
        train: Callable[[], Iterator[Gradients]],
        test: Callable[[Gradients], Gradients] = lambda gradients: gradients,
    ) -> None:
        super().__init__(source.task, source.index, source.batches, function=source.function)
        self._source, self._train, self._test = source, train, test

    @property
    def n(self) -> int:
        """The number of training samples."""
        return self._source.n

    def values(self) -> Tensor:
        """Return the values at the training samples, (n,)."""
        return self._source.values()

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the training gradients."""
        return self._train()

    def test(self) -> Gradients:
        """Return the test gradients."""
        return self._test(self._source.test())


def fit(projection: LearnedProjection, source: GradientSource) -> dict[str, Tensor]:
    """Return {"basis": P (k, p), "features": P∇f_i at all training samples (n, k)}."""
    basis = projection.fit(source)
    parts = [block.inner_vectors(basis) for block in source.train_blocks()]
    return {"basis": basis, "features": torch.cat(parts)}


def fitted(source: GradientSource, state: Mapping[str, Tensor]) -> GradientSource:
    """Return a source in the directions of a learned projection, if `fit` has left one in the state.

    "features" are enough for the training gradients, those of the test samples need the "basis".
    """
    if "features" not in state:
        return source

    def train() -> Iterator[Gradients]:
        features, values = state["features"], source.values()
        for rows in row_blocks(len(features), features.shape[1], features.device):
            yield Gradients.of_vectors(features[rows], values[rows])

    def test(gradients: Gradients) -> Gradients:
        return Gradients.of_vectors(gradients.inner_vectors(state["basis"]), gradients.values)

    return DerivedSource(source, train, test)
