"""What a method of attribution chooses in the one formula.

scores[i, j] = - Σ_c w_c ⟨P_c ∇f_j(θ_c), ∇ℓ_i(θ_c)⟩, the estimated change of the target f_j because
sample i is in the training set.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headwater.batches import Batch
from headwater.gradients.source import GradientSource
from headwater.memory import LARGE, Cost, Sizes, row_blocks
from headwater.solvers import State
from headwater.task import AttributionTask

Rows = tuple[slice, Tensor]


class Method(ABC):
    """The choices of a method, at one checkpoint after the other."""

    ensembles = 1
    """Of how many ensembles the checkpoints are, in turn: every so manyth is of the same one."""

    def __init__(self, task: AttributionTask) -> None:
        self.task = task

    one_pass = False
    """Whether it goes over the training gradients once, and over the test gradients block by block."""

    def check(self, source: GradientSource, batch: Batch) -> None:  # noqa: B027 - optional
        """Raise ValueError if the task does not fit the method, seen on one training batch."""

    def prepare(self, source: GradientSource) -> State:
        """Compute what depends on the training data only."""
        return {}

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of `prepare`, `solve` and `score`; default: an inner product for each pair."""
        return Cost(4 * sizes.n * sizes.m, sizes.n * sizes.m * sizes.pair, 0)

    def solve(self, source: GradientSource, state: State) -> State:
        """Apply P to the test gradients."""
        return {}

    def solved_width(self, source: GradientSource) -> int:
        """Return how many numbers `solve` needs per test sample; where all do not fit, it gets a few."""
        return 0

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield (rows, -⟨P∇f_j, ∇ℓ_i⟩ (b, m)) for one block of training samples after the other.

        By default `solve` has made all of them: "scores" (n, m).
        """
        scores = solved["scores"]
        for rows in row_blocks(len(scores), scores.shape[1], scores.device, numbers=LARGE):
            yield rows, scores[rows]

    @abstractmethod
    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return ⟨∇ℓ_i, P∇ℓ_i⟩ at one checkpoint, (n,)."""

    def checkpoint_weight(self, index: int, count: int) -> float:
        """Return w_c; default: the mean over checkpoints."""
        return 1.0 / count

    def sample_weight(self, source: GradientSource) -> Tensor | None:
        """Return a factor per training sample, (n,), averaged over an ensemble; default: none."""
        return None

    def check_tokens(self, side: str) -> None:
        """Raise ValueError unless the method has scores per token of the "train" or "test" samples."""
        raise ValueError(
            f"per_token needs a method of gradients, got {type(self).__name__}; "
            "use GradDot or InfluenceFunction"
        )

    def finish(self, scores: NDArray[np.float32]) -> None:  # noqa: B027 - optional
        """Change the scores of all checkpoints (n, m) in place; default: not at all."""
