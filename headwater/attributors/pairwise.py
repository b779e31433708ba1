"""Methods that give each pair of samples a value of its own, from what is known of both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from headwater.attributors.direction import direction
from headwater.attributors.feature_attributor import FeatureAttributor
from headwater.attributors.method import Rows
from headwater.batches import Batch
from headwater.gradients.source import GradientSource
from headwater.memory import LARGE, row_blocks
from headwater.solvers import State

__all__ = ["DirectedAttributor", "PairwiseAttributor"]

TEST = "test."
"""What the names of the test samples' tensors begin with."""


class DirectedAttributor(FeatureAttributor):
    """Score a pair by how much sample i helps the prediction of j, without any gradient.

    scores[i, j] = d · v(i, j), v the value that a method gives the pair, and d = +1 for a target that
    rises when the loss falls (margin, logit, log-probability), -1 for the loss. Self-influence is
    v(i, i): how much i helps its own prediction. With several checkpoints values are averaged.

    Raises:
        ValueError: in `cache`, if the target does not rise or fall with the loss.
    """

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a target that does not rise or fall with the loss."""
        direction(source.model, self.task.loss, self.task.target, batch)

    def summary(self, source: GradientSource, samples: dict[str, Tensor]) -> State:
        """Return what is kept of the training samples, and {"direction": d}."""
        first = next(iter(source.batches))
        sign = direction(source.model, self.task.loss, self.task.target, first)
        return {**samples, "direction": torch.tensor(sign, dtype=torch.float64)}


class PairwiseAttributor(DirectedAttributor):
    """Value each pair by itself: a method says what it keeps of a sample, and how two compare."""

    @abstractmethod
    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return v(i, j) for a block of training samples and all test samples, (b, m)."""

    @abstractmethod
    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return v(i, i), (n,)."""

    def solve(self, source: GradientSource, state: State) -> State:
        """Add what is kept of the test samples."""
        return {**state, **{TEST + name: kept for name, kept in self.tests(source).items()}}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield d · v(i, j) for one block of training samples after the other."""
        test = {k.removeprefix(TEST): t for k, t in solved.items() if k.startswith(TEST)}
        train = {k: solved[k] for k in test}
        n, m = (len(next(iter(side.values()))) for side in (train, test))
        for rows in row_blocks(n, m, source.device, numbers=LARGE):
            values = self.value({name: t[rows] for name, t in train.items()}, test)
            yield rows, values * float(solved["direction"])

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return v(i, i)."""
        return self.self_value(state)
