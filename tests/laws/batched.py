"""The problems of the law of the batches: samples of one shape, and sentences padded batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater import targets
from headwater.labels import IGNORED
from tests.awkward_models import CausalLanguageModel, NextToken
from tests.laws.row import DAMPING
from tests.problems import DTYPE, PROBLEMS, Batch, Problem, randomised, select, split

__all__ = ["BATCHED", "Batched"]

Sizes = Sequence[int]
EXTRA = (2, 0, 1, 0, 1)
"""Positions of padding beside those that a batch needs, in one batching after the other."""


def _as_they_are(batch: Batch, extra: int) -> Batch:
    return batch


@dataclass(frozen=True)
class Batched:
    """A problem, and how its data comes in batches.

    Args:
        problem: makes it; its batches hold all samples in one shape.
        sizes: of the batches of training and of test samples, one pair after the other.
        collated: makes a batch of some samples, with so many positions more than these need.
        damping: more than the most negative eigenvalue of the Hessian.
        checkpoints: at most; that several are added up right needs one problem only.
    """

    problem: Callable[[], Problem]
    sizes: Sequence[tuple[Sizes, Sizes]]
    collated: Callable[[Batch, int], Batch] = _as_they_are
    damping: float = DAMPING
    checkpoints: int = 1

    def batchings(self, problem: Problem) -> list[tuple[list[Batch], list[Batch]]]:
        """Return training and test samples in one batch each, then in other batches."""

        def parts(batch: Batch, sizes: Sizes, extra: int) -> list[Batch]:
            return [self.collated(part, extra) for part in split(batch, list(sizes))]

        whole = [problem.n], [len(problem.test[0])]
        return [
            (parts(problem.train, train, extra), parts(problem.test, test, extra))
            for (train, test), extra in zip([whole, *self.sizes], EXTRA, strict=False)
        ]


def _padded(batch: tuple[Tensor, Tensor], extra: int) -> tuple[Tensor, Tensor]:
    tokens, following = batch
    longest = int((tokens != 0).sum(1).max())
    pad = lambda t, value: F.pad(t[:, :longest], (0, extra), value=value)  # noqa: E731
    return pad(tokens, 0), pad(following, IGNORED)


def _language_model() -> Problem:
    """Sentences of 2 to 5 tokens; the label of each token is the next one."""
    generator = torch.Generator().manual_seed(4)

    def sentences(lengths: list[int]) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(1, 6, (len(lengths), 5), generator=generator)
        tokens = tokens.masked_fill(torch.arange(5) >= torch.tensor(lengths)[:, None], 0)
        following = F.pad(tokens[:, 1:], (0, 1))
        return tokens, following.masked_fill(following == 0, IGNORED)

    model = randomised(CausalLanguageModel().to(DTYPE), seed=3)
    train, test = sentences([3, 5, 2, 4, 3]), sentences([2, 4, 3])
    return Problem(model, targets.cross_entropy, train, test)


def _transformer() -> Problem:
    generator = torch.Generator().manual_seed(4)

    def samples(n: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(5, (n, 4), generator=generator)
        return tokens[:, :3], tokens[:, 3]

    model = randomised(NextToken().to(DTYPE), seed=3)
    return Problem(model, targets.cross_entropy, samples(5), samples(3))


def _conv_net() -> Problem:
    problem = PROBLEMS["conv net"]()
    train, test = select(problem.train, slice(0, 5)), select(problem.test, slice(2, 5))
    return replace(problem, train=train, test=test)


_NINE = [([1] * 9, [1] * 5), ([3] * 3, [2, 3]), ([2, 6, 1], [2, 3]), ([8, 1], [2, 3])]
_FIVE = [([1] * 5, [1] * 3), ([2, 3], [2, 1])]
BATCHED: dict[str, Batched] = {
    "mlp": Batched(PROBLEMS["mlp"], _NINE, checkpoints=3),
    "language model": Batched(_language_model, _FIVE, _padded, damping=30.0),
    "conv net": Batched(_conv_net, [([1, 4], [1, 2])]),
    "transformer": Batched(_transformer, [([1, 4], [1, 2])], damping=30.0),
}
"""All of them, by name."""
