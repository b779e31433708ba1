"""Influence functions, for every curvature, solver and projection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from headwater.attributors.fitted_source import FittedSource, fit
from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.attributors.method import Rows
from headwater.attributors.projection_dimension import sized, warn_if_small
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
from headwater.gradients.source import CapturedSource, GradientSource
from headwater.loader import LoadedData
from headwater.memory import LARGE, row_blocks
from headwater.projections import GradientProjection
from headwater.solvers import LearnedProjection, Solver, State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["InfluenceFunction", "Weights"]

log = logging.getLogger(__name__)
Weights = Literal["own", "averaged"]


class InfluenceFunction(GradientAttributor):
    """Estimate the effect of leaving a sample out by one Newton step.

    scores[i, j] = -(1/n) ⟨P∇ℓ_i, (C + λI)^-1 P∇f_j⟩ ≈ f_j(with i) - f_j(without i), in the unit of f,
    with C the curvature of the mean loss. P is the projection, another one at every checkpoint, and C
    is then made of projected gradients; by default P = I. Self-influence:
    (1/n) ⟨P∇ℓ_i, (C + λI)^-1 P∇ℓ_i⟩. With several checkpoints the scores are averaged.

    A curvature may be made of the gradients g_i of another function, ∇ℓ_i = σ_i g_i: the margin has
    σ_i = -(1-p_i). Averaged weights are averaged over the checkpoints by themselves,
    -mean_c[ (1/n) ⟨P g_i, (C + λI)^-1 P∇f_j⟩ ] · mean_c[ σ_i ]: a model that has learned a sample by
    heart (σ_i ≈ 0) then still counts, with the weight that the others give to the sample.

    Damping is in the unit of C, a mean over samples. A curvature of L2-regularised training does not
    contain weight decay: add it to the damping.

    Args:
        task: model, loss, target and checkpoints.
        solver: how (C + λI)^-1 is applied, with its damping λ: a number, or relative to C.
        curvature: C; default: the exact Hessian, or the empirical Fisher for a solver that asks for
            rows (`Woodbury`, `DataInf`) and for a projection.
        projection: P, random or learned; default: none. With dimension "auto" it gets 15 times the
            effective dimension tr C (C + λI)^-1 of the first samples at the first checkpoint.
        weights: "own" or "averaged".

    Raises:
        ValueError: if the curvature does not offer what the solver asks for, or does not go together
            with a projection or with averaged weights.

    Reference:
        Koh and Liang, Understanding Black-box Predictions via Influence Functions, ICML 2017.
    """

    def __init__(
        self,
        task: AttributionTask,
        solver: Solver,
        curvature: Curvature | None = None,
        projection: GradientProjection | LearnedProjection | None = None,
        weights: Weights = "own",
    ) -> None:
        super().__init__(task)
        if curvature is None:
            rows = solver.asked & {ROWS, ROW_PER_SAMPLE} or projection is not None
            curvature = EmpiricalFisher() if rows else ExactHessian()
        solver.check_curvature(curvature)
        self.solver, self.curvature = solver, curvature
        self.projection, self.weights = projection, weights
        self._sized = projection
        self._check_choices()

    def _check_choices(self) -> None:
        name = type(self.curvature).__name__
        if self.projection is not None and self.curvature.whole:
            raise ValueError(
                "a projection needs a curvature made of the gradients as they are, got "
                f"{name}; use EmpiricalFisher or MarginGaussNewton"
            )
        if self.weights not in get_args(Weights):
            raise ValueError(
                f"weights must be one of {', '.join(get_args(Weights))}, got {self.weights!r}"
            )
        if self.weights == "averaged" and self.train_function is self.task.loss:
            raise ValueError(
                f"averaged weights need a curvature along the margin, got {name}; "
                "use MarginGaussNewton"
            )

    @property
    def train_function(self) -> SampleFunction:
        """The loss, or the function whose gradients the curvature is made of."""
        return self.curvature.function(self.task)

    @property
    def takes_projected(self) -> bool:
        """Whether the curvature is made of the gradients as they are, and nothing is projected here."""
        return self.projection is None and not self.curvature.whole

    @property
    def splits_training_samples(self) -> bool:
        """Whether (C + λI)^-1 is applied to test gradients as vectors, and the loss is differentiated."""
        learned = isinstance(self.projection, LearnedProjection)
        in_gram_space = self.solver.asked & {ROWS, ROW_PER_SAMPLE}
        return self.train_function is self.task.loss and not learned and not in_gram_space

    def open(self, data: LoadedData) -> list[CapturedSource]:
        """Settle the dimension of the projection, and return one source per checkpoint."""
        self._sized = sized(self.projection, self.task, self.curvature, self.solver.damping, data)
        return super().open(data)

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """Project, with a random projection of this checkpoint's own."""
        if isinstance(self._sized, GradientProjection):
            return gradients.project(self._sized.for_checkpoint(checkpoint))
        return gradients

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a loss that the curvature is not made for."""
        self.curvature.check(source.model, self.task, batch)

    def prepare(self, source: GradientSource) -> State:
        """Return what is computed from the training data alone, whatever the damping.

        With a learned projection its "basis" and the "features" of the samples, with a relative damping
        the "mean_eigenvalue" of C.
        """
        learned = isinstance(self.projection, LearnedProjection)
        fitted = fit(self.projection, source) if learned else {}  # type: ignore[arg-type]
        source = _projected(source, fitted)
        estimated = self.curvature.estimate(source)
        operator = self.curvature.operator(source, estimated)
        state = {**fitted, **estimated, **self.solver.prepare(operator)}
        if self.solver.is_relative:
            mean = operator.trace() / operator.size
            state["mean_eigenvalue"] = torch.tensor(mean, dtype=torch.float64)
        if source.index == 0 and operator.size < self.task.layout.size:
            warn_if_small(*self._damped(source, state), state)
        return state

    def solve(self, source: GradientSource, state: State) -> State:
        """Apply (C + λI)^-1 to the test gradients."""
        source = _projected(source, state)
        solver, operator = self._damped(source, state)
        solved = solver.solve_gradients(operator, state, source.test())
        features = {"features": state["features"]} if "features" in state else {}
        return {**solved, **features}

    def solved_width(self, source: GradientSource) -> int:
        """Return how many numbers the solver needs per test sample: vectors, or products with all."""
        if self.solver.asked & {ROWS, ROW_PER_SAMPLE}:
            return 4 * source.n  # in float64
        return 2 * next(iter(source.train_blocks())).dimension

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -(σ_i/n) ⟨g_i, (C + λI)^-1 f_j⟩, g_i the captured gradient; averaged weights: no σ_i."""
        source, start = _projected(source, solved), 0
        for block in source.train_blocks():
            m = self.solver.score(block[:1], slice(start, start + 1), solved).shape[1]
            for part in row_blocks(len(block), m, source.device, numbers=LARGE):
                train, rows = block[part], slice(start + part.start, start + part.stop)
                factors = self._factors(train.values) / -source.n
                yield rows, self.solver.score(train, rows, solved) * factors[:, None]
            start += len(block)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return (σ_i²/n) ⟨g_i, (C + λI)^-1 g_i⟩; averaged weights: no σ_i."""
        products = self.quadratic(source, state, power=1)
        return self._factors(source.values()).square() * products / source.n

    def sample_weight(self, source: GradientSource) -> Tensor | None:
        """Return σ_i, if it is averaged."""
        averaged = self.weights == "averaged"
        return self.curvature.loss_scale(source.values()) if averaged else None

    def quadratic(self, source: GradientSource, state: State, power: int) -> Tensor:
        """Return ⟨g_i, (C + λI)^-power g_i⟩ at all training samples, (n,)."""
        source = _projected(source, state)
        solver, operator = self._damped(source, state)
        return solver.quadratic(operator, state, source, power)

    def _factors(self, values: Tensor) -> Tensor:
        """Return σ_i, or ones if it is averaged by itself."""
        scale = self.curvature.loss_scale(values)
        return torch.ones_like(scale) if self.weights == "averaged" else scale

    def _damped(self, source: GradientSource, state: State) -> tuple[Solver, LinearOperator]:
        """Return the solver, with its damping as a number, and C at one checkpoint."""
        operator = self.curvature.operator(source, state)
        if not self.solver.is_relative:
            return self.solver, operator
        if "mean_eigenvalue" in state:
            mean = float(state["mean_eigenvalue"])
        else:  # prepared for another damping, a number
            mean = operator.trace() / operator.size
        solver = self.solver.resolved(mean)
        log.info("damping %.3g at checkpoint %d", solver.shift, source.index)
        return solver, operator


def _projected(source: GradientSource, state: State) -> GradientSource:
    """Return the source, in the directions of a learned projection if the state has one."""
    return FittedSource(source, state) if "features" in state else source
