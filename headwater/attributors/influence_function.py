"""Influence functions, for every curvature, solver and projection."""

import logging
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from headwater.attributors.derived_source import fitted
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
from headwater.memory import LARGE, Cost, Sizes, row_blocks
from headwater.projections import GradientProjection
from headwater.solvers import LearnedProjection, Solver, State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["InfluenceFunction"]

log = logging.getLogger(__name__)
Weights = Literal["own", "averaged"]
Norm = Literal["loss", "parameters"]


class InfluenceFunction(GradientAttributor):
    """Estimate the effect of leaving a sample out by one Newton step.

    scores[i, j] = -(1/n) ⟨P∇ℓ_i, (C + λI)^-1 P∇f_j⟩ ≈ f_j(with i) - f_j(without i), in the unit of f,
    with C the curvature of the mean loss. P is the projection, another one at every checkpoint, and C
    is then made of projected gradients; by default P = I. Self-influence:
    (1/n) ⟨P∇ℓ_i, (C + λI)^-1 P∇ℓ_i⟩. With several checkpoints the scores are averaged.

    A curvature may be made of the gradients g_i of another function, ∇ℓ_i = σ_i g_i: the margin has
    σ_i = -(1-p_i). Averaged weights are averaged over the checkpoints of each ensemble by themselves,
    -mean_c[ (1/n) ⟨P g_i, (C + λI)^-1 P∇f_j⟩ ] · mean_c[ σ_i ]: a model that has learned a sample by
    heart (σ_i ≈ 0) then still counts, with the weight that the others give to the sample.

    A norm divides scores and self-influence of sample i by the size of its own effect, at each
    checkpoint: N_i = √(∇ℓ_iᵀ (C + λI)^-1 ∇ℓ_i) for "loss", N_i = ‖(C + λI)^-1 ∇ℓ_i‖ for "parameters".

    Args:
        solver: how (C + λI)^-1 is applied, with its damping λ: a number in the unit of C, or relative to
            it. C does not contain the weight decay of training: add it to the damping.
        curvature: C; default: the exact Hessian, or the empirical Fisher for a solver that asks for
            rows (`Woodbury`, `DataInf`) and for a projection.
        projection: P, random or learned; default: none. With dimension "auto" it gets 15 times the
            effective dimension tr C (C + λI)^-1 of the first samples at the first checkpoint.
        weights: "own" or "averaged".
        norm: N, "loss" or "parameters"; default: none. See `RelatIF`.
        ensembles: how many there are; their checkpoints come in turn.

    Raises:
        ValueError: if the curvature does not offer what the solver asks for, or does not go together
            with a projection or with averaged weights, or these with a norm.

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
        norm: Norm | None = None,
        ensembles: int = 1,
    ) -> None:
        super().__init__(task)
        if curvature is None:
            rows = solver.asked & {ROWS, ROW_PER_SAMPLE} or projection is not None
            curvature = EmpiricalFisher() if rows else ExactHessian()
        solver.check_curvature(curvature)
        self.solver, self.curvature = solver, curvature
        self.projection, self.weights, self.norm = projection, weights, norm
        self.ensembles, self._sized = ensembles, projection
        self._norms: tuple[State, Tensor] | None = None
        name = type(curvature).__name__
        if projection is not None and curvature.whole:
            raise ValueError(
                "a projection needs a curvature made of the gradients as they are, got "
                f"{name}; use EmpiricalFisher or MarginGaussNewton"
            )
        found = "loss" if norm is None else norm
        for what, value, known in (("weights", weights, Weights), ("norm", found, Norm)):
            if value not in get_args(known):
                names = ", ".join(get_args(known))
                raise ValueError(f"{what} must be one of {names}, got {value!r}")
        if weights == "averaged" and self.train_function is task.loss:
            raise ValueError(
                f"averaged weights need a curvature along the margin, got {name}; "
                "use MarginGaussNewton"
            )
        most = 1 if weights == "own" else len(task.checkpoints)
        if not 1 <= ensembles <= most:
            raise ValueError(
                f"ensembles must be between 1 and {most} with weights={weights!r}, got {ensembles}"
            )
        if weights == "averaged" and norm is not None:
            raise ValueError(f"a norm needs weights='own', got averaged ones and {norm!r}")

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
        whole = not learned and not self._in_gram_space and self.norm is None
        return whole and self.train_function is self.task.loss

    @property
    def _in_gram_space(self) -> bool:
        """Whether the solver works on products with all training samples."""
        return bool(self.solver.asked & {ROWS, ROW_PER_SAMPLE})

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
        """Return what is computed from the training data alone, whatever the damping."""
        state: dict[str, Tensor] = {}
        if isinstance(self.projection, LearnedProjection):
            state["basis"] = basis = self.projection.fit(source)
            parts = [block.inner_vectors(basis) for block in source.train_blocks()]
            state["features"] = torch.cat(parts)
        source = fitted(source, state)
        state |= self.curvature.estimate(source)
        operator = self.curvature.operator(source, state)
        state |= self.solver.prepare(operator)
        if self.solver.is_relative:
            mean = operator.trace() / operator.size
            state["mean_eigenvalue"] = torch.tensor(mean, dtype=torch.float64)
        if source.index == 0 and operator.size < self.task.layout.size:
            warn_if_small(*self._damped(source, state), state)
        return state

    def solve(self, source: GradientSource, state: State) -> State:
        """Apply (C + λI)^-1 to the test gradients, and return N_i as "relative" (n,) with them."""
        found = {"features": state["features"]} if "features" in state else {}
        if self.norm is not None:
            if self._norms is None or self._norms[0] is not state:  # else: other test samples
                self._norms = state, self._divisors(source, state)
            found["relative"] = self._norms[1]
        source = fitted(source, state)
        solver, operator = self._damped(source, state)
        return {**solver.solve_gradients(operator, state, source.test()), **found}

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of the solver, with products of C; by default where the projection is learned."""
        if isinstance(self.projection, LearnedProjection):
            return super().cost(sizes)
        product = sizes.n * (self.curvature.passes * sizes.pass_ or 4.0 * sizes.p)
        rows = sizes.n * self.curvature.rows_per_sample
        return self.solver.cost(sizes._replace(product=product, rows=rows))

    def solved_width(self, source: GradientSource) -> int:
        """Return how many numbers the solver needs per test sample: vectors, or products with all."""
        if self._in_gram_space:
            return 4 * source.n  # in float64
        return 2 * next(iter(source.train_blocks())).dimension

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -(σ_i/n) ⟨g_i, (C + λI)^-1 f_j⟩, g_i the captured gradient; averaged weights: no σ_i."""
        source, start = fitted(source, solved), 0
        for block in source.train_blocks():
            m = self.solver.score(block[:1], slice(start, start + 1), solved).shape[1]
            for part in row_blocks(len(block), m, source.device, numbers=LARGE):
                train, rows = block[part], slice(start + part.start, start + part.stop)
                factors = self._factors(train.values) / -source.n
                scores = self.solver.score(train, rows, solved) * factors[:, None]
                yield rows, scores if self.norm is None else scores / solved["relative"][rows, None]
            start += len(block)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return (σ_i²/n) ⟨g_i, (C + λI)^-1 g_i⟩; averaged weights: no σ_i; divided by N_i."""
        divisors = None if self.norm is None else self._divisors(source, state)
        if divisors is not None and self.norm == "loss":  # N_i² = ∇ℓ_iᵀ (C + λI)^-1 ∇ℓ_i
            return torch.where(divisors < torch.inf, divisors, 0.0) / source.n
        products = self.quadratic(source, state, power=1)
        found = self._factors(source.values()).square() * products / source.n
        return found if divisors is None else found / divisors

    def sample_weight(self, source: GradientSource) -> Tensor | None:
        """Return σ_i, if it is averaged."""
        averaged = self.weights == "averaged"
        return self.curvature.loss_scale(source.values()) if averaged else None

    def quadratic(self, source: GradientSource, state: State, power: int) -> Tensor:
        """Return ⟨g_i, (C + λI)^-power g_i⟩ at all training samples, (n,)."""
        source = fitted(source, state)
        solver, operator = self._damped(source, state)
        return solver.quadratic(operator, state, source, power)

    def _divisors(self, source: GradientSource, state: State) -> Tensor:
        """Return N_i, (n,); infinite where a sample has no gradient, which makes its score 0."""
        squares = self.quadratic(source, state, power=1 if self.norm == "loss" else 2)
        wrong = (~(squares >= 0)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"the norm of relative influence must be positive, got {float(squares[row]):.3g} for its "
                f"square at sample {row}: C + λI is not positive definite there; raise the damping, or "
                "use a Gauss-Newton curvature"
            )
        norms = self.curvature.loss_scale(source.values()).abs() * squares.sqrt()
        return torch.where(norms > 0, norms, torch.inf)

    def _factors(self, values: Tensor) -> Tensor:
        """Return σ_i, or ones if it is averaged by itself."""
        scale = self.curvature.loss_scale(values)
        return torch.ones_like(scale) if self.weights == "averaged" else scale

    def _damped(self, source: GradientSource, state: State) -> tuple[Solver, LinearOperator]:
        operator = self.curvature.operator(source, state)
        if not self.solver.is_relative:
            return self.solver, operator
        mean = state.get("mean_eigenvalue")  # none: prepared for another damping, a number
        solver = self.solver.resolved(
            operator.trace() / operator.size if mean is None else float(mean)
        )
        log.info("damping %.3g at checkpoint %d", solver.shift, source.index)
        return solver, operator
