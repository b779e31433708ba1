"""Influence relative to the size of a sample's own effect."""

from headwater.attributors.influence_function import InfluenceFunction, Norm
from headwater.curvature import Curvature
from headwater.projections import GradientProjection
from headwater.solvers import LearnedProjection, Solver
from headwater.task import AttributionTask

__all__ = ["RelatIF"]


class RelatIF(InfluenceFunction):
    """Divide the influence of a sample by how much it changes the model at all.

    scores[i, j] = -(1/n) ∇f_jᵀ P ∇ℓ_i / N_i with P = (C + λI)^-1 and

    - norm "loss": N_i = √(∇ℓ_iᵀ P ∇ℓ_i), for a given change of the sample's own loss;
    - norm "parameters": N_i = ‖P ∇ℓ_i‖, for a given change of the parameters,

    at each checkpoint, averaged over checkpoints afterwards. A sample without gradient has the score 0.
    Self-influence is divided alike. The scores have the unit of f over that of the norm: they rank, they
    predict no change. Cost: as influence, and one more solution per training sample (`Woodbury`,
    `DataInf`: matrix products).

    Raises:
        ValueError: if P is not positive at a sample, as it may be with an exact Hessian.

    Reference:
        Barshan, Brunet and Dziugaite, RelatIF: Identifying Explanatory Training Examples via Relative
        Influence, AISTATS 2020.

    Example:
        >>> import torch
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
        super().__init__(task, solver, curvature, projection, norm=norm)
