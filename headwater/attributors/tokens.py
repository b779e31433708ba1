"""Scores per token: one for each label that the loss or the target of a sequence is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from headwater.attributors.method import Method
from headwater.attributors.scoring import solve_into, written
from headwater.batches import Batch, batch_size, select
from headwater.gradients import GradientCapture, Gradients
from headwater.gradients.captured import CapturedGradients
from headwater.gradients.source import CapturedSource, GradientSource
from headwater.loader import LoadedData
from headwater.solvers import State
from headwater.targets import TokenTarget, per_token

__all__ = ["Side", "token_scores"]

Side = Literal["train", "test"]
Capture = Callable[[Sequence[CapturedGradients], str], None]


@dataclass(frozen=True)
class TokenBatch:
    """Samples, each with the position of one of its tokens.

    Args:
        samples: (k, ...), a sample once for every token of it.
        position: int64 (k,).
    """

    samples: Batch
    position: Tensor


@dataclass(frozen=True)
class OneToken:
    """f(model, token batch) -> (k,): the value at one token of each sample."""

    target: TokenTarget

    def __call__(self, model: Any, batch: TokenBatch) -> Tensor:
        return self.target(model, batch.samples).gather(1, batch.position[:, None])[:, 0]


class Tokens:
    """The tokens with a label of a loader's samples, in order, as batches of samples of their own.

    Args:
        loader: batches of sequences.
        target: says which tokens have a label.
    """

    def __init__(self, loader: Iterable[Batch], target: TokenTarget) -> None:
        self.loader, self.target = loader, target

    def __iter__(self) -> Iterator[TokenBatch]:
        for batch in self.loader:
            rows, positions = self.target.mask(batch).nonzero(as_tuple=True)
            size = batch_size(batch)
            for part, at in zip(rows.split(size), positions.split(size), strict=True):
                yield TokenBatch(select(batch, part), at)

    def places(self) -> tuple[Tensor, Tensor, int]:
        """Return the sample and the position of every token, and the largest number of positions."""
        samples, positions, first, longest = [], [], 0, 0
        for batch in self.loader:
            mask = self.target.mask(batch).cpu()
            rows, at = mask.nonzero(as_tuple=True)
            samples.append(rows + first)
            positions.append(at)
            first, longest = first + len(mask), max(longest, mask.shape[1])
        return torch.cat(samples), torch.cat(positions), longest


class TokenSource(GradientSource):
    """A source whose training gradients are those of single tokens, n still the number of samples.

    They are captured as they are asked for, and not kept.

    Args:
        source: of the samples.
        tokens: of its training data.
    """

    def __init__(self, source: CapturedSource, tokens: Tokens) -> None:
        super().__init__(source.task, source.index, source.batches, function=source.function)
        self._source, self._tokens = source, tokens

    @property
    def n(self) -> int:
        """The number of training samples."""
        return self._source.n

    def values(self) -> Tensor:
        """Return the losses of the samples, (n,)."""
        return self._source.values()

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the gradients of one batch of tokens after the other."""
        capture, done = GradientCapture(self._source.model, OneToken(self._tokens.target)), 0
        for batch in self._tokens:
            gradients = self._source.represent(capture(batch, first_row=done))
            done += len(gradients)
            yield gradients

    def test(self) -> Gradients:
        """Return the target's gradients at the test samples."""
        return self._source.test()


def token_scores(
    method: Method,
    capture: Capture,
    sources: Sequence[CapturedSource],
    states: Sequence[State],
    tests: LoadedData,
    side: Side,
) -> Tensor:
    """Return the scores of all tokens of the training or of the test samples.

    Args:
        method: the method.
        capture: `Attributor.capture` of it.
        sources: one per checkpoint, as `cache` made them.
        states: what `prepare` returned at each.
        tests: the test samples.
        side: whose tokens.

    Returns:
        "test": (n_train, n_test, T), scores[i, j, t] that of the target of token t alone; "train":
        (n_train, T, n_test), scores[i, t, j] that of the loss of token t alone. 0 where a position has
        no label. Over tokens they add up to the scores of the samples, for losses and targets that
        are sums over tokens themselves.

    Raises:
        ValueError: if the method, its loss or its target has no scores per token.
    """
    task = method.task
    if side not in ("train", "test"):
        raise ValueError(f"per_token must be 'train' or 'test', got {side!r}")
    method.check_tokens(side)
    data = sources[0].batches
    if side == "test":
        tokens = Tokens(tests, per_token(task.target))
        samples, positions, longest = tokens.places()
        loaded = LoadedData(tokens, "test_loader", task.memory_budget // 4)
        tested = [source.with_tests(loaded, OneToken(tokens.target)) for source in sources]
        capture([source.test_gradients for source in tested], "test gradients of tokens")
        write = partial(solve_into, method, sources=tested, states=states)
        flat = written(write, (data.n, len(samples)), None)
        scores = flat.new_zeros(data.n, tests.n, longest)
        scores[:, samples, positions] = flat
        return scores
    tokens = Tokens(data, per_token(task.loss))
    samples, positions, longest = tokens.places()
    tested = [source.with_tests(tests) for source in sources]
    capture([source.test_gradients for source in tested], "test gradients")
    write = partial(
        solve_into,
        method,
        sources=tested,
        states=states,
        scored=lambda source: TokenSource(source, tokens),
    )
    flat = written(write, (len(samples), tests.n), None)
    scores = flat.new_zeros(data.n, longest, tests.n)
    scores[samples, positions] = flat
    return scores
