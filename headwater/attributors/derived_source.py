"""Sources whose gradients are made from those of another: in learned directions, or of single tokens."""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from headwater.gradients import Gradients
from headwater.gradients.source import GradientSource
from headwater.memory import row_blocks


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


def fitted(source: GradientSource, state: Mapping[str, Tensor]) -> GradientSource:
    """Return a source in the directions of a learned projection, if there is one in the state.

    Training gradients are made of "features", P∇f_i (n, k), those of test samples with "basis", P (k, p).
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
