"""Scores per token: one for each label that the loss or the target of a sequence is made of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from headwater.attributors.derived_source import DerivedSource
from headwater.attributors.method import Method
from headwater.attributors.scoring import solve_into, written
from headwater.batches import Batch, batch_size, select
from headwater.gradients import GradientCapture, Gradients
from headwater.gradients.captured import CapturedGradients
from headwater.gradients.source import CapturedSource
from headwater.loader import LoadedData
from headwater.solvers import State
from headwater.targets import TokenTarget, per_token

Side = Literal["train", "test"]
Capture = Callable[[Sequence[CapturedGradients], str], None]


@dataclass(frozen=True)
class TokenBatch:
    """Samples (k, ...), one for every token of each, and the positions of the tokens, int64 (k,)."""

    samples: Batch
    position: Tensor


@dataclass(frozen=True)
class OneToken:
    """f(model, token batch) -> (k,): the value at one token of each sample."""

    target: TokenTarget

    def __call__(self, model: Any, batch: TokenBatch) -> Tensor:
        """Return the values, (k,)."""
        return self.target(model, batch.samples).gather(1, batch.position[:, None])[:, 0]


class Tokens:
    """The tokens with a label of a loader's samples, in order, as batches of samples of their own."""

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


def token_scores(
    method: Method,
    capture: Capture,
    sources: Sequence[CapturedSource],
    states: Sequence[State],
    tests: LoadedData,
    side: Side,
) -> Tensor:
    """Return the scores of all tokens of the training or of the test samples.

    "test": (n_train, n_test, T), scores[i, j, t] that of the target of token t alone; "train":
    (n_train, T, n_test), scores[i, t, j] that of the loss of token t alone; 0 where a position has no
    label. Over tokens they add up to the scores of the samples, where loss and target are such sums.
    `capture` is the attributor's, `states` what it prepared of the sources. Gradients of training
    tokens are captured as they are scored: a training loader beyond a quarter of the memory budget is
    read to count its tokens, and once per checkpoint and block of test samples.
    ValueError if the method, its loss or its target has no scores per token.
    """
    task, data = method.task, sources[0].batches
    if side not in ("train", "test"):
        raise ValueError(f"per_token must be 'train' or 'test', got {side!r}")
    method.check_tokens(side)
    of_test = side == "test"
    tokens = Tokens(*((tests, per_token(task.target)) if of_test else (data, per_token(task.loss))))
    samples, positions, longest = tokens.places()
    if of_test:
        loaded = LoadedData(tokens, "test_loader", task.memory_budget // 4)
        tested = [source.with_tests(loaded, OneToken(tokens.target)) for source in sources]
    else:
        tested = [source.with_tests(tests) for source in sources]
    capture([source.test_gradients for source in tested], "test gradients")
    write = partial(solve_into, method, sources=tested, states=states)
    if of_test:
        flat = written(write, (data.n, len(samples)), None)
        scores = flat.new_zeros(data.n, tests.n, longest)
        scores[:, samples, positions] = flat
    else:
        write = partial(write, scored=partial(_of_tokens, tokens=tokens))
        flat = written(write, (len(samples), tests.n), None)
        scores = flat.new_zeros(data.n, longest, tests.n)
        scores[samples, positions] = flat
    return scores


def _of_tokens(source: CapturedSource, tokens: Tokens) -> DerivedSource:
    """Return a source whose training gradients are those of single tokens, n that of the samples."""

    def train() -> Iterator[Gradients]:
        capture, done = GradientCapture(source.model, OneToken(tokens.target)), 0
        for batch in tokens:
            gradients = source.represent(capture(batch, first_row=done))
            done += len(gradients)
            yield gradients

    return DerivedSource(source, train)
