"""TRAK, and TRAK without its projection: the kernel of the margin's gradients."""

import numpy as np
from numpy.typing import NDArray

from headwater.attributors.influence_function import InfluenceFunction
from headwater.curvature import MarginGaussNewton, MarginKernel
from headwater.projections import GradientProjection
from headwater.solvers import Blocks, Damping, Explicit, LearnedProjection, Woodbury
from headwater.task import AttributionTask, SampleFunction

__all__ = ["TRAK", "ExactTRAK", "soft_threshold"]

COLUMNS = 256
"""Test samples that the threshold is applied to at a time."""


class TRAK(InfluenceFunction):
    """Explain a margin by projected gradients: after linearisation, the Newton step of a GLM.

    φ = P∇m (k numbers per sample, another P for every checkpoint), m the margin log p/(1-p) and
    C = (1/n) ΦᵀΦ: scores[i, j] = mean_c[ (1/n) φ_j (C + λI)^-1 φ_i ] · mean_c[ 1-p_i ].
    It is `InfluenceFunction` with `MarginKernel` and averaged weights; with blocks, TRAK-WOMP.
    Self-influence: mean_c[ (1/n) φ_i (C + λI)^-1 φ_i ] · mean_c[ 1-p_i ]², without the threshold.
    Cost: one projection of every gradient, and k × k algebra.

    Args:
        task: its target must be the margin of its loss; checkpoints are independently trained models.
        projection: random, or learned (`ArnoldiProjection`: the Hessian's leading directions); None
            where the gradients are projected already.
        damping: λ ≥ 0, in the unit of C: what is added to ΦᵀΦ is n λ.
        blocks: number or sizes of the diagonal blocks of C; "layers": one per layer.
        soft_threshold: fraction of the training samples whose score for a test sample is kept; None: all.
        ensembles: of how many the checkpoints are, in turn; weights are averaged in each.

    Raises:
        ValueError: if the damping is negative, or the target is not the margin of the loss.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    def __init__(
        self,
        task: AttributionTask,
        projection: GradientProjection | LearnedProjection | None,
        damping: Damping = 0.0,
        blocks: Blocks = 1,
        soft_threshold: float | None = None,
        ensembles: int = 1,
    ) -> None:
        if soft_threshold is not None and not 0.0 < soft_threshold < 1.0:
            raise ValueError(
                "soft_threshold must lie between 0 and 1, the fraction of scores to keep, got "
                f"{soft_threshold}"
            )
        solver, kernel = Explicit(damping, blocks), MarginKernel(_margin_of(task, "TRAK"))
        super().__init__(task, solver, kernel, projection, weights="averaged", ensembles=ensembles)
        self.soft_threshold = soft_threshold

    def finish(self, scores: NDArray[np.float32]) -> None:
        """Shrink the scores, if asked to."""
        if self.soft_threshold is not None:
            soft_threshold(scores, self.soft_threshold)


class ExactTRAK(InfluenceFunction):
    """Explain a margin by its own kernel, the sample weights averaged over models by themselves.

    With m the margin log p/(1-p) and C_c = (1/n) Σ p_i(1-p_i) ∇m_i ∇m_iᵀ at model c,

    scores[i, j] = mean_c[ (1/n) ∇m_jᵀ (C_c + λI)^-1 ∇m_i ] · mean_c[ 1-p_i ].

    It is TRAK with infinitely many projections, and with the weights p(1-p) of the Newton step that TRAK
    leaves out: `InfluenceFunction` with `MarginGaussNewton` and averaged weights. Checkpoints are
    independently trained models, best stopped early; or of several `ensembles` in turn, whose scores are
    averaged: [run 1 after 2 epochs, run 1 after 5, run 2 after 2, run 2 after 5, ...] are two.
    Self-influence: mean_c[ (1/n) ∇m_iᵀ (C_c + λI)^-1 ∇m_i ] · mean_c[ 1-p_i ]². Cost: one n × n Cholesky
    factorisation per model, whatever the number of parameters.

    Raises:
        ValueError: if the damping is not positive, or the target is not the margin of the loss.
    """

    def __init__(self, task: AttributionTask, damping: Damping, ensembles: int = 1) -> None:
        curvature = MarginGaussNewton(_margin_of(task, "ExactTRAK"))
        super().__init__(
            task, Woodbury(damping), curvature, weights="averaged", ensembles=ensembles
        )


def soft_threshold(scores: NDArray[np.float32], fraction: float) -> None:
    """Shrink all scores (n, m) of a test sample towards 0, and keep a fraction of them, in place.

    S(τ) = sign(τ) · max(|τ| - λ_j, 0), with λ_j the largest magnitude in column j that is not
    among the ⌈fraction · n⌉ largest (section 3.2 of Park et al.).
    """
    n = len(scores)
    dropped = n - int(np.ceil(fraction * n))
    if dropped == 0:
        return
    for j in range(0, scores.shape[1], COLUMNS):
        block = scores[:, j : j + COLUMNS]
        magnitude = np.abs(block)
        least = np.partition(magnitude, dropped - 1, axis=0)[dropped - 1]
        scores[:, j : j + COLUMNS] = np.sign(block) * np.maximum(magnitude - least, 0)


def _margin_of(task: AttributionTask, method: str) -> SampleFunction:
    if task.target is task.loss:
        raise ValueError(
            f"{method} explains the margin of the loss, got a task that explains the loss itself; pass "
            "target=margin to AttributionTask, for cross-entropy headwater.targets.margin"
        )
    return task.target
