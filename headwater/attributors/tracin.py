"""TracInCP: gradient products along the training run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows, negative_products
from headwater.attributors.source import GradientSource
from headwater.solvers import State
from headwater.task import AttributionTask

__all__ = ["TracInCP"]


class TracInCP(Attributor):
    """Sum the gradient products over the checkpoints of one training run.

    scores[i, j] = - Σ_c η_c ⟨∇f_j(θ_c), ∇ℓ_i(θ_c)⟩, η_c the learning rate in force at checkpoint c.
    Self-influence: Σ_c η_c ‖∇ℓ_i(θ_c)‖². Cost: that of Grad-Dot, times the number of checkpoints.

    Args:
        task: checkpoints of one run, in any order.
        learning_rates: η_c, one a checkpoint.

    Raises:
        ValueError: if there is not one learning rate a checkpoint.

    Reference:
        Pruthi et al., Estimating Training Data Influence by Tracing Gradient Descent, NeurIPS 2020.
    """

    def __init__(self, task: AttributionTask, learning_rates: Sequence[float]) -> None:
        super().__init__(task)
        if len(learning_rates) != len(task.checkpoints):
            raise ValueError(
                "TracInCP needs one learning rate a checkpoint, got "
                f"{len(learning_rates)} for {len(task.checkpoints)} checkpoints"
            )
        self.learning_rates = tuple(float(rate) for rate in learning_rates)

    def checkpoint_weight(self, index: int, count: int) -> float:
        """Return η_c."""
        return self.learning_rates[index]

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -⟨∇f_j, ∇ℓ_i⟩."""
        return negative_products(source)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return ‖∇ℓ_i‖²."""
        return torch.cat([block.squared_norms() for block in source.train_blocks()])
