"""Relative influence: influence for a given size of the sample's own effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from headwater.attributors.attributor import Rows
from headwater.attributors.influence_function import InfluenceFunction
from headwater.curvature import Curvature
from headwater.gradients.source import GradientSource
from headwater.projections import GradientProjection
from headwater.solvers import LearnedProjection, Solver, State
from headwater.task import AttributionTask

__all__ = ["RelatIF"]

Norm = Literal["loss", "parameters"]


class RelatIF(InfluenceFunction):
    """Divide the influence of a sample by how much it changes the model at all.

    scores[i, j] = -(1/n) ∇f_jᵀ P ∇ℓ_i / N_i with P = (C + λI)^-1 and

    - norm "loss": N_i = √(∇ℓ_iᵀ P ∇ℓ_i), for a given change of the sample's own loss;
    - norm "parameters": N_i = ‖P ∇ℓ_i‖, for a given change of the parameters,

    at each checkpoint, averaged over checkpoints afterwards. Samples of great effect on everything
    (outliers, wrong labels) no longer come first for every test sample. A sample without gradient has
    the score 0. Self-influence is divided alike: √(∇ℓ_iᵀ P ∇ℓ_i) / n for the norm "loss".
    The scores have the unit of f over that of the norm: they rank, they predict no change.
    Cost: as influence, and one more solution per training sample (`Woodbury`, `DataInf`: matrix
    products).

    Args:
        task: model, loss, target and checkpoints.
        solver: how P is applied, with its damping λ.
        curvature: C; default: as for `InfluenceFunction`.
        norm: N, "loss" or "parameters".
        projection: of all gradients, as for `InfluenceFunction`; norms are those of projected ones.

    Raises:
        ValueError: if the norm is unknown, or the curvature does not offer what the solver asks for.

    Reference:
        Barshan, Brunet and Dziugaite, RelatIF: Identifying Explanatory Training Examples via Relative
        Influence, AISTATS 2020.

    Example:
        >>> from headwater.solvers import Explicit
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> task = AttributionTask(model, f, checkpoints=[{"weight": torch.ones(1, 1)}])
        >>> x = [torch.tensor([[1.0], [2.0]])]  # ∇ℓ = x², H = mean x² = 2.5: N = x² / √3
        >>> method = RelatIF(task, Explicit(damping=0.5)).cache(x)
        >>> [[round(float(s), 3) for s in row] for row in method.attribute(x, x)]  # -x_j² / (2 √3)
        [[-0.289, -1.155], [-0.289, -1.155]]
    """

    def __init__(
        self,
        task: AttributionTask,
        solver: Solver,
        curvature: Curvature | None = None,
        norm: Norm = "loss",
        projection: GradientProjection | LearnedProjection | None = None,
    ) -> None:
        super().__init__(task, solver, curvature, projection)
        if norm not in get_args(Norm):
            raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}")
        self.norm = norm
        self._relative: tuple[State, Tensor] | None = None

    @property
    def splits_training_samples(self) -> bool:
        """Whether the score of a sum of losses is the sum of their scores: not once it is divided."""
        return False

    def solve(self, source: GradientSource, state: State) -> State:
        """Apply P to the test gradients, and return N_i as "relative" (n,) with them.

        It is infinite where a sample has no gradient, which makes the score 0.

        Raises:
            ValueError: if P is not positive at a sample.
        """
        if self._relative is None or self._relative[0] is not state:  # else: other test samples
            norms = self._norms(source, state)
            self._relative = state, torch.where(norms > 0, norms, torch.inf)
        return {**super().solve(source, state), "relative": self._relative[1]}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield the influence of a block of training samples, divided by N_i."""
        for rows, block in super().score(source, solved):
            yield rows, block / solved["relative"][rows, None]

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return (1/n) ∇ℓ_iᵀ P ∇ℓ_i / N_i."""
        norms = self._norms(source, state)
        if self.norm == "loss":
            return norms / len(norms)  # N_i² = ∇ℓ_iᵀ P ∇ℓ_i
        return super().self_score(source, state) / torch.where(norms > 0, norms, torch.inf)

    def _norms(self, source: GradientSource, state: State) -> Tensor:
        """Return N_i from the captured gradients g_i, ∇ℓ_i = σ_i g_i, (n,)."""
        squares = self.quadratic(source, state, power=1 if self.norm == "loss" else 2)
        wrong = (~(squares >= 0)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"the norm of relative influence must be positive, got {float(squares[row]):.3g} for its "
                f"square at sample {row}: C + λI is not positive definite there; raise the damping, or "
                "use a Gauss-Newton curvature"
            )
        return self.curvature.loss_scale(source.values()).abs() * squares.sqrt()
