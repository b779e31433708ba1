"""Methods that take no gradients: a value for each pair of samples, from what is known of each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.attributors.direction import direction
from headwater.attributors.method import Rows
from headwater.batches import Batch, batch_size, tensors_of, to_device
from headwater.checks import check_finite
from headwater.gradients.source import GradientSource
from headwater.memory import LARGE, row_blocks
from headwater.progress import track
from headwater.solvers import State

__all__ = ["Describe", "PairwiseAttributor", "sides"]

TEST = "test."
"""What the names of the test samples' tensors begin with."""
Describe = Callable[[Batch], Mapping[str, Tensor]]
"""Returns what is kept of the samples of a batch: tensors whose first dimension is the sample."""


class PairwiseAttributor(Attributor):
    """Score a pair by how much sample i helps the prediction of j, without any gradient.

    scores[i, j] = d · v(i, j), v the value that a method gives the pair, and d = +1 for a target that
    rises when the loss falls (margin, logit, log-probability), -1 for the loss. Self-influence is
    v(i, i): how much i helps its own prediction. With several checkpoints values are averaged.

    A method says what it keeps of a sample (`describer`), and how two samples compare (`value`).

    Raises:
        ValueError: in `cache`, if the target does not rise or fall with the loss.
    """

    @abstractmethod
    def describer(self, source: GradientSource) -> Describe:
        """Return what is called with one batch after the other, on the model's device."""

    @abstractmethod
    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return v(i, j) for a block of training samples and all test samples, (b, m)."""

    @abstractmethod
    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return v(i, i), (n,)."""

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a target that does not rise or fall with the loss."""
        direction(source.model, self.task.loss, self.task.target, batch)

    def prepare(self, source: GradientSource) -> State:
        """Return what is kept of the training samples, and {"direction": d}."""
        first = next(iter(source.batches))
        sign = direction(source.model, self.task.loss, self.task.target, first)
        kept = self._described(source, source.batches)
        return {**kept, "direction": torch.tensor(sign, dtype=torch.float64)}

    def solve(self, source: GradientSource, state: State) -> State:
        """Add what is kept of the test samples."""
        test = self._described(source, source.test_batches)
        return {**state, **{TEST + name: tensor for name, tensor in test.items()}}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield d · v(i, j) for one block of training samples after the other."""
        train, test, sign = sides(solved)
        n, m = (len(next(iter(side.values()))) for side in (train, test))
        for rows in row_blocks(n, m, source.device, numbers=LARGE):
            yield rows, self.value({name: t[rows] for name, t in train.items()}, test) * sign

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return v(i, i)."""
        train, _, _ = sides(state)
        return self.self_value(train)

    def _described(self, source: GradientSource, batches: Iterable[Batch]) -> dict[str, Tensor]:
        describe, done = self.describer(source), 0
        parts: list[Mapping[str, Tensor]] = []
        for batch in track(batches, "samples"):
            for tensor in tensors_of(batch):
                check_finite("the data", tensor, done)
            with torch.no_grad():
                parts.append(describe(to_device(batch, source.device)))
            done += batch_size(batch)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def sides(state: State) -> tuple[dict[str, Tensor], dict[str, Tensor], float]:
    """Return what is kept of training and test samples, and the sign d."""
    test = {k.removeprefix(TEST): t for k, t in state.items() if k.startswith(TEST)}
    train = {k: t for k, t in state.items() if not k.startswith(TEST) and k != "direction"}
    return train, test, float(state["direction"])
