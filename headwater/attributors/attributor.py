"""The three verbs of every attributor: cache, attribute, self_influence."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from headwater.attributors.method import Method
from headwater.attributors.scoring import self_scores, solve_into, written
from headwater.attributors.tokens import Side, token_scores
from headwater.batches import Batch, to_device
from headwater.checks import check_finite
from headwater.gradients.captured import CapturedGradients
from headwater.gradients.source import CapturedSource, GradientSource
from headwater.loader import Check, LoadedData
from headwater.solvers import State
from headwater.task import AttributionTask

__all__ = ["Attributor"]


class Attributor(Method):
    """Attribute the targets of a task to its training samples.

    A loader is read once in `cache`, and again only where its batches do not fit into a quarter of the
    task's memory budget and a method needs them (products with a Hessian, drawn labels, tokens).
    """

    def __init__(self, task: AttributionTask) -> None:
        super().__init__(task)
        self.data_budget = task.memory_budget // 4  # bytes of training batches that are kept
        self._sources: list[CapturedSource] = []
        self._states: list[State] = []

    def open(self, data: LoadedData) -> list[CapturedSource]:
        """Return one source per checkpoint; they share the data."""
        count = len(self.task.checkpoints)
        return [CapturedSource(self.task, index, data) for index in range(count)]

    def capture(self, gradients: Sequence[CapturedGradients], what: str) -> None:
        """Capture the gradients at all checkpoints in one pass; default: the method takes none."""

    def prepare_all(self, sources: Sequence[GradientSource]) -> list[State]:
        """Compute what depends on the training data only, at all checkpoints."""
        return [self.prepare(source) for source in sources]

    def cache(self, train_loader: Iterable[Batch]) -> Self:
        """Compute all that depends on the training data only, batches in a fixed order; return self.

        Raises:
            ValueError: if the loader shuffles or cannot be read twice, or the task does not fit; what
                the first batch shows is said before the second is read.
        """
        self._sources, self._states = [], []  # a call that fails leaves nothing half done
        data = LoadedData(train_loader, "train_loader", self.data_budget)
        sources = self.open(data)
        for source in sources:
            first = to_device(data.first, source.device)
            with torch.no_grad():
                check_finite("the loss", source.model.values(self.task.loss, first))
            self.check(source, first)
        self.capture([source.gradients for source in sources], "training gradients")
        states = self.prepare_all(sources)
        data.finish()
        self._sources, self._states = sources, states
        return self

    def attribute(
        self,
        train_loader: Iterable[Batch],
        test_loader: Iterable[Batch],
        *,
        out: str | Path | None = None,
        check: Check = "ends",
        per_token: Side | None = None,
    ) -> Tensor:
        """Return the scores of all pairs of training and test samples.

        Args:
            train_loader: the samples that `cache` has seen, in any batches.
            test_loader: batches of test samples in a fixed order.
            out: a .npy file for scores that do not fit into memory; they are mapped from it, and changes
                to them do not reach it.
            check: what is compared with the samples of `cache`: "ends", the first one, and the last one
                and their number where these are known without reading everything; or "all".
            per_token: whether each token with a label gets scores of its own, at the cost of a sample:
                "test", (n_train, n_test, T), or "train", (n_train, T, n_test).

        Returns:
            scores (n_train, n_test), float32; row i is training sample i in the loader's order.

        Raises:
            ValueError: if `cache` was not called with this training data.
        """
        path = None if out is None else Path(out)
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"out must be a file in a folder, found none at {str(out)!r}")
        data = self._cached(train_loader, check)
        tests = LoadedData(test_loader, "test_loader", self.task.memory_budget // 4)
        if per_token is not None:
            if out is not None:
                raise ValueError("out must not be given with per_token, got both; drop one")
            return token_scores(self, self.capture, self._sources, self._states, tests, per_token)
        meets = data.n if self.one_pass else 0
        sources = [source.with_tests(tests, meets=meets) for source in self._sources]
        self.capture([source.test_gradients for source in sources], "test gradients")
        write = partial(solve_into, self, sources=sources, states=self._states)
        return written(write, (data.n, tests.n), path)

    def self_influence(self, train_loader: Iterable[Batch], *, check: Check = "ends") -> Tensor:
        """Return how much each training sample lowers its own loss, ⟨∇ℓ_i, P∇ℓ_i⟩.

        It is (n_train,), float32, and not negative where P is positive; large means a suspicious label.
        Arguments and errors are those of `attribute`.
        """
        self._cached(train_loader, check)
        return self_scores(self, self._sources, self._states).to(torch.float32)

    def _cached(self, train_loader: Iterable[Batch], check: Check) -> LoadedData:
        if not self._sources:
            raise ValueError(
                "cache must be called first, got no training data; call cache(train_loader)"
            )
        data = self._sources[0].batches
        data.return_to(train_loader, check)
        return data
