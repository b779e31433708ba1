"""What every attributor is: three public verbs on top of four choices.

scores[i, j] = - Σ_c w_c ⟨P_c ∇f_j(θ_c), ∇ℓ_i(θ_c)⟩, the estimated change of the target f_j because
sample i is in the training set. A method chooses the function and representation of the training
gradients, P (`prepare`, `solve`), the products (`score`) and the weights.
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.attributors.source import CapturedSource, GradientSource
from headwater.batches import Batch, batch_size, check_ordered, fingerprint
from headwater.gradients import Gradients
from headwater.solvers import State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["Attributor", "Rows", "check_target", "negative_products"]

Rows = tuple[slice, Tensor]


class Attributor(ABC):
    """Attribute the targets of a task to its training samples.

    Args:
        task: model, loss, target and checkpoints; an ensemble has several checkpoints.
    """

    def __init__(self, task: AttributionTask) -> None:
        self.task = task
        self._sources: list[CapturedSource] = []
        self._states: list[State] = []
        self._seen: list[str] = []

    # The choices of a method.

    @property
    def train_function(self) -> SampleFunction | None:
        """The function whose gradients are taken at the training samples; default: the loss.

        None: the method takes no gradients, on either side.
        """
        return self.task.loss

    @property
    def takes_projected(self) -> bool:
        """Whether it works on gradients that are projected already, as a store may hold them."""
        return True

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """Return the gradients in the form this method works on; default: as captured."""
        return gradients

    def check(self, source: GradientSource, batch: Batch) -> None:  # noqa: B027 - optional
        """Raise ValueError if the task does not fit the method, seen on one training batch."""

    def prepare(self, source: GradientSource) -> State:
        """Compute what depends on the training data only."""
        return {}

    def solve(self, source: GradientSource, state: State) -> State:
        """Apply P to the test gradients."""
        return {}

    @abstractmethod
    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield (rows, -⟨P∇f_j, ∇ℓ_i⟩ (b, m)) for one block of training samples after the other."""

    @abstractmethod
    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return ⟨∇ℓ_i, P∇ℓ_i⟩ at one checkpoint, (n,)."""

    def checkpoint_weight(self, index: int, count: int) -> float:
        """Return w_c; default: the mean over checkpoints."""
        return 1.0 / count

    def sample_weight(self, source: GradientSource) -> Tensor | None:
        """Return a factor a training sample, (n,), averaged over checkpoints; default: none."""
        return None

    # What is the same for all.

    def scores_into(
        self,
        out: NDArray[np.float32],
        sources: Sequence[GradientSource],
        solved: Sequence[State],
    ) -> None:
        """Write the scores into an array (n_train, n_test), a block of training samples at a time."""
        factor = self._mean_sample_weight(sources)
        for index, (source, solution) in enumerate(zip(sources, solved, strict=True)):
            weight, done = self.checkpoint_weight(index, len(sources)), 0
            for rows, block in self.score(source, solution):
                part = torch.from_numpy(out[rows])
                scaled = block if weight == 1 else weight * block
                if index == 0:
                    part.copy_(scaled)
                else:
                    part += scaled.to("cpu", torch.float32)
                if factor is not None and index == len(sources) - 1:
                    part *= factor[rows, None].to("cpu", torch.float32)
                done += len(part)
                _let_go(out)
                del block, scaled  # before the next is made: else memory grows in fragments
            if done != len(out):
                raise ValueError(
                    f"out must have one row a training sample, {done} of them, got {len(out)}"
                )

    def self_scores(self, sources: Sequence[GradientSource], states: Sequence[State]) -> Tensor:
        """Return the self-influence from sources and what was prepared of them, (n_train,)."""
        total = torch.zeros(1, dtype=torch.float64)
        for index, (source, state) in enumerate(zip(sources, states, strict=True)):
            weight = self.checkpoint_weight(index, len(sources))
            total = total + weight * self.self_score(source, state).to("cpu", torch.float64)
        factor = self._mean_sample_weight(sources)
        return total if factor is None else total * factor.to("cpu", torch.float64) ** 2

    def _mean_sample_weight(self, sources: Sequence[GradientSource]) -> Tensor | None:
        weights = [w for w in (self.sample_weight(source) for source in sources) if w is not None]
        return torch.stack(weights).mean(0) if weights else None

    # The three public verbs.

    def cache(self, train_loader: Iterable[Batch]) -> Self:
        """Compute everything that depends on the training data only.

        Args:
            train_loader: batches of training samples in a fixed order.

        Returns:
            This attributor.

        Raises:
            ValueError: if the loader shuffles or cannot be read twice, or the task does not fit.
        """
        check_ordered(train_loader, "train_loader")
        self._seen = [fingerprint(batch) for batch in train_loader]
        _count("train_loader", train_loader)
        self._sources, self._states = [], []  # a call that fails leaves nothing half done
        sources: list[CapturedSource] = []
        states: list[State] = []
        for index in range(len(self.task.checkpoints)):
            source = CapturedSource(
                self.task, index, train_loader, self.train_function, self.represent
            )
            self.check(source, next(iter(train_loader)))
            sources.append(source)
            states.append(self.prepare(source))
        self._sources, self._states = sources, states
        return self

    def attribute(self, train_loader: Iterable[Batch], test_loader: Iterable[Batch]) -> Tensor:
        """Return the scores of all pairs of training and test samples.

        Args:
            train_loader: the loader that `cache` has seen.
            test_loader: batches of test samples in a fixed order.

        Returns:
            scores (n_train, n_test), float32; row i is training sample i in the loader's order.

        Raises:
            ValueError: if `cache` was not called with this training data.
        """
        self._check_cached(train_loader)
        check_ordered(test_loader, "test_loader")
        n, m = _count("train_loader", train_loader), _count("test_loader", test_loader)
        for source in self._sources:
            source.capture_test(test_loader)
        pairs = zip(self._sources, self._states, strict=True)
        solved = [self.solve(source, state) for source, state in pairs]
        scores = np.empty((n, m), dtype=np.float32)
        self.scores_into(scores, self._sources, solved)
        return torch.from_numpy(scores)

    def self_influence(self, train_loader: Iterable[Batch]) -> Tensor:
        """Return how much each training sample lowers its own loss, ⟨∇ℓ_i, P∇ℓ_i⟩.

        Args:
            train_loader: the loader that `cache` has seen.

        Returns:
            (n_train,), float32; not negative where P is positive; large means a suspicious label.

        Raises:
            ValueError: if `cache` was not called with this training data.
        """
        self._check_cached(train_loader)
        return self.self_scores(self._sources, self._states).to(torch.float32)

    def _check_cached(self, train_loader: Iterable[Batch]) -> None:
        if not self._sources:
            raise ValueError(
                "cache must be called first, got no training data; call cache(train_loader)"
            )
        check_ordered(train_loader, "train_loader")
        found = [fingerprint(batch) for batch in train_loader]
        if found != self._seen:
            changed = [i for i, (a, b) in enumerate(zip(found, self._seen, strict=False)) if a != b]
            where = f"batch {changed[0]} differs" if changed else f"{len(found)} batches"
            raise ValueError(
                "train_loader must yield what cache has seen, in the same order and batches, got "
                f"{where} (of {len(self._seen)}); call cache again, or turn off shuffling and "
                "augmentation"
            )


def check_target(task: AttributionTask, method: str) -> None:
    """Raise ValueError if a method that explains a margin is asked to explain the loss."""
    if task.target is task.loss:
        raise ValueError(
            f"{method} explains the margin of the loss, got a task that explains the loss itself; pass "
            "target=margin to AttributionTask, for cross-entropy headwater.targets.margin"
        )


def negative_products(source: GradientSource) -> Iterator[Rows]:
    """Yield (rows, -⟨∇f_j, ∇ℓ_i⟩) for one block of training samples after the other."""
    test, start = source.test(), 0
    for block in source.train_blocks():
        yield slice(start, start + len(block)), block.inner(test).neg_()
        start += len(block)


def _count(name: str, loader: Iterable[Batch]) -> int:
    """Return the number of samples of a loader, at least one."""
    count = sum(batch_size(batch) for batch in loader)
    if count == 0:
        raise ValueError(f"{name} must yield batches, got none")
    return count


def _let_go(out: NDArray[np.float32]) -> None:
    """Unmap what has been written to a file, so that memory does not grow with the scores."""
    if isinstance(out, np.memmap) and out.mode == "r+" and isinstance(out.base, mmap.mmap):
        out.base.madvise(mmap.MADV_DONTNEED)  # of a shared mapping: the file keeps the pages
