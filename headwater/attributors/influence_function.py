"""Influence functions, for every curvature and every solver."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows
from headwater.attributors.source import GradientSource
from headwater.batches import Batch
from headwater.curvature import (
    ROW_PER_SAMPLE,
    ROWS,
    Curvature,
    EmpiricalFisher,
    ExactHessian,
    LinearOperator,
)
from headwater.gradients import Gradients
from headwater.solvers import Solver, State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["InfluenceFunction"]


class InfluenceFunction(Attributor):
    """Estimate the effect of leaving a sample out by one Newton step.

    scores[i, j] = -(1/n) ∇f_jᵀ (C + λI)^-1 ∇ℓ_i ≈ f_j(with i) - f_j(without i), in the unit of f,
    with C the curvature of the mean loss. Self-influence: (1/n) ∇ℓ_iᵀ (C + λI)^-1 ∇ℓ_i. With several
    checkpoints the scores are averaged.

    Args:
        task: model, loss, target and checkpoints.
        solver: how (C + λI)^-1 is applied, with its damping λ.
        curvature: C; default: the exact Hessian, or the empirical Fisher for a solver that asks for
            rows (`Woodbury`, `DataInf`).

    Raises:
        ValueError: if the curvature does not offer what the solver asks for.

    Reference:
        Koh and Liang, Understanding Black-box Predictions via Influence Functions, ICML 2017.
    """

    def __init__(
        self, task: AttributionTask, solver: Solver, curvature: Curvature | None = None
    ) -> None:
        super().__init__(task)
        if curvature is None:
            rows = solver.asked & {ROWS, ROW_PER_SAMPLE}
            curvature = EmpiricalFisher() if rows else ExactHessian()
        solver.check_curvature(curvature)
        self.solver, self.curvature = solver, curvature

    @property
    def train_function(self) -> SampleFunction:
        """The loss, or the function whose gradients the curvature is made of."""
        return self.curvature.function(self.task)

    @property
    def takes_projected(self) -> bool:
        """Whether the curvature is made of the gradients as they are."""
        return not self.curvature.whole

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a loss that the curvature is not made for."""
        self.curvature.check(source.model, self.task, batch)

    def operator(self, source: GradientSource, state: State) -> LinearOperator:
        """Return C at one checkpoint, from what `prepare` returned."""
        return self.curvature.operator(source, state)

    def prepare(self, source: GradientSource) -> State:
        """Return what is computed from the training data alone, whatever the damping."""
        estimated = self.curvature.estimate(source)
        return {**estimated, **self.solver.prepare(self.curvature.operator(source, estimated))}

    def solve(self, source: GradientSource, state: State) -> State:
        """Apply (C + λI)^-1 to the test gradients."""
        return self.solver.precondition(self.operator(source, state), state, source.test())

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -(σ_i/n) ⟨g_i, (C + λI)^-1 f_j⟩, g_i the captured gradient with ∇ℓ_i = σ_i g_i."""
        n = sum(len(block) for block in source.train_blocks())
        start = 0
        for block in source.train_blocks():
            rows = slice(start, start + len(block))
            row_scale, loss_scale = self._scales(block)
            products = self.solver.inner(block, rows, row_scale, solved)
            yield rows, products * (-loss_scale / n)[:, None]
            start = rows.stop

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return (σ_i²/n) ⟨g_i, (C + λI)^-1 g_i⟩."""
        train = source.train()
        _, loss_scale = self._scales(train)
        products = self.solver.self_inner(self.operator(source, state), state, train)
        return loss_scale.square() * products / len(train)

    def _scales(self, gradients: Gradients) -> tuple[Tensor, Tensor]:
        values = gradients.values
        return self.curvature.row_scale(values), self.curvature.loss_scale(values)
