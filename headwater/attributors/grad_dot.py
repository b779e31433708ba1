"""Grad-Dot, Grad-Cos and TracInCP: the plain similarity of gradients."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.attributors.method import Rows
from headwater.gradients import Gradients
from headwater.gradients.source import GradientSource
from headwater.solvers import State
from headwater.task import AttributionTask

__all__ = ["GradCos", "GradDot", "TracInCP"]


class GradDot(GradientAttributor):
    """Score by the inner product of gradients, exactly: P = I.

    scores[i, j] = -⟨∇f_j, ∇ℓ_i⟩, the change of f_j under one gradient step of size 1 on sample i.
    Self-influence: ‖∇ℓ_i‖². Cost: one pass over the data and one Gram product of the factors.

    Reference:
        Charpiat et al., Input Similarity from the Neural Network Perspective, NeurIPS 2019.
    """

    one_pass = True

    @property
    def splits_training_samples(self) -> bool:
        """Whether gradients are multiplied as they are: a subclass may make something else of them."""
        kind = type(self)
        return kind.represent is GradientAttributor.represent and kind.score is GradDot.score

    def solved_width(self, source: GradientSource) -> int:
        """Return how many numbers of a test gradient are formed."""
        return next(source.test_blocks()).width_for(source.n, source.n)

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -⟨∇f_j, ∇ℓ_i⟩."""
        for rows, _, products in _products(source):
            yield rows, products.neg_()

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return ‖∇ℓ_i‖²."""
        return torch.cat([block.squared_norms() for block in source.train_blocks()])


class TracInCP(GradDot):
    """Sum the gradient products over the checkpoints of one training run.

    scores[i, j] = - Σ_c η_c ⟨∇f_j(θ_c), ∇ℓ_i(θ_c)⟩, η_c the learning rate in force at checkpoint c.
    Self-influence: Σ_c η_c ‖∇ℓ_i(θ_c)‖². Cost: that of Grad-Dot, times the number of checkpoints.

    Raises:
        ValueError: if there is not one learning rate per checkpoint.

    Reference:
        Pruthi et al., Estimating Training Data Influence by Tracing Gradient Descent, NeurIPS 2020.
    """

    def __init__(self, task: AttributionTask, learning_rates: Sequence[float]) -> None:
        super().__init__(task)
        if len(learning_rates) != len(task.checkpoints):
            raise ValueError(
                "TracInCP needs one learning rate per checkpoint, got "
                f"{len(learning_rates)} for {len(task.checkpoints)} checkpoints"
            )
        self.learning_rates = tuple(float(rate) for rate in learning_rates)

    def checkpoint_weight(self, index: int, count: int) -> float:
        """Return η_c."""
        return self.learning_rates[index]


class GradCos(GradDot):
    """Score by the cosine of the angle between gradients: P = I, both sides of unit length.

    scores[i, j] = -⟨∇f_j, ∇ℓ_i⟩ / (‖∇f_j‖ ‖∇ℓ_i‖), 0 where a gradient is zero. Self-influence: 1.
    """

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield minus the cosines."""
        columns = torch.cat([_inverse_norms(test) for test in source.test_blocks()])
        for rows, train, products in _products(source):
            yield rows, -products * _inverse_norms(train)[:, None] * columns

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return 1, the cosine of a gradient with itself (0 for a zero gradient)."""
        parts = [block.squared_norms() > 0 for block in source.train_blocks()]
        return torch.cat(parts).to(torch.float64)


def _products(source: GradientSource) -> Iterator[tuple[slice, Gradients, Tensor]]:
    """Yield blocks of training samples, which they are, and their products with all test samples."""
    n = source.n
    tests = [block.formed_for(n, n) for block in source.test_blocks()]
    for rows, train in source.numbered_blocks(sum(map(len, tests))):
        yield rows, train, train.inner_all(tests, n)


def _inverse_norms(gradients: Gradients) -> Tensor:
    norms = gradients.squared_norms().sqrt()
    return torch.where(norms > 0, 1.0 / norms, torch.zeros_like(norms))
