"""Influence functions in the space of projected gradients: LoGra, GraSS and FactGraSS."""

from headwater.attributors.influence_function import InfluenceFunction
from headwater.curvature import EmpiricalFisher
from headwater.projections import FactGraSS, GradientProjection, GraSS, Kronecker
from headwater.solvers import Blocks, Damping, Explicit, LearnedProjection
from headwater.task import AttributionTask

__all__ = ["ProjectedInfluence", "factgrass", "grass", "logra"]


class ProjectedInfluence(InfluenceFunction):
    """Estimate the effect of leaving a sample out with the empirical Fisher of projected gradients.

    φ_i = P∇ℓ_i and ψ_j = P∇f_j, another P for every checkpoint, and C = (1/n) ΦᵀΦ:
    scores[i, j] = -(1/n) ψ_jᵀ (C + λI)^-1 φ_i ≈ f_j(with i) - f_j(without i), in the unit of f.
    It is `InfluenceFunction` with `EmpiricalFisher`, a projection (None where the gradients are projected
    already) and `Explicit` with these blocks. Cost: one projection of every gradient, and k × k algebra.

    Raises:
        ValueError: if the damping is negative, or the blocks do not fit the projection.
    """

    def __init__(
        self,
        task: AttributionTask,
        projection: GradientProjection | LearnedProjection | None,
        damping: Damping,
        blocks: Blocks = 1,
    ) -> None:
        super().__init__(task, Explicit(damping, blocks), EmpiricalFisher(), projection)


def logra(
    task: AttributionTask,
    dimension_in: int,
    dimension_out: int,
    damping: Damping,
    seed: int = 0,
    blocks: Blocks = "layers",
) -> ProjectedInfluence:
    """Return LoGra: two-sided random projections of each layer, and a Fisher matrix of each.

    The inputs of each layer are projected to `dimension_in` numbers, its output gradients to
    `dimension_out`; blocks=1 is one Fisher matrix of all layers together.

    Reference:
        Choe et al., What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence
        Functions, 2024.
    """
    projection = Kronecker(dimension_in, dimension_out, seed=seed)
    return ProjectedInfluence(task, projection, damping, blocks)


def grass(
    task: AttributionTask,
    dimension: int,
    damping: Damping,
    blowup: int = 4,
    seed: int = 0,
    blocks: Blocks = 1,
) -> ProjectedInfluence:
    """Return GraSS: masked gradients brought to k dimensions by a sparse projection.

    The mask keeps `blowup` coordinates for each dimension.

    Reference:
        Hu et al., GraSS: Scalable Data Attribution with Gradient Sparsification and Sparse
        Projection, NeurIPS 2025.
    """
    return ProjectedInfluence(task, GraSS(dimension, seed, blowup=blowup), damping, blocks)


def factgrass(
    task: AttributionTask,
    dimension: int,
    damping: Damping,
    blowup: int = 4,
    seed: int = 0,
    blocks: Blocks = "layers",
) -> ProjectedInfluence:
    """Return FactGraSS: `grass` on the factors of each layer, k dimensions each; it forms no gradient."""
    return ProjectedInfluence(task, FactGraSS(dimension, blowup, seed=seed), damping, blocks)
