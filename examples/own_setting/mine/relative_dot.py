"""A method: Grad-Dot, relative to a power of the size of each training gradient."""

from collections.abc import Iterator

import torch
from torch import Tensor

from headwater import AttributionTask
from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.attributors.method import Rows
from headwater.gradients import Gradients
from headwater.gradients.source import GradientSource
from headwater.solvers import State


class RelativeDot(GradientAttributor):
    """Score by -⟨∇f_j, ∇ℓ_i⟩ / ‖∇ℓ_i‖^power; with power 0 it is Grad-Dot.

    Self-influence: ‖∇ℓ_i‖^(2 - power).
    """

    def __init__(self, task: AttributionTask, power: float = 1.0) -> None:
        super().__init__(task)
        self.power = power

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield the scores, one block of training samples after the other."""
        test = source.test()
        for rows, train in source.numbered_blocks(len(test)):
            yield rows, -train.inner(test) / self._sizes(train)[:, None]

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return what each training sample scores for its own loss."""
        blocks = source.train_blocks()
        return torch.cat([block.squared_norms() / self._sizes(block) for block in blocks])

    def _sizes(self, gradients: Gradients) -> Tensor:
        norms = gradients.squared_norms().sqrt()
        return norms.clamp_min(torch.finfo(norms.dtype).tiny) ** self.power  # 0 / tiny is 0
