"""Data Value Embedding: what each step of training has left in the final model."""

from collections.abc import Reversible, Sized

import torch
from torch import Tensor

from headwater.attributors.trajectory_attributor import Passage, TrajectoryAttributor
from headwater.gradients import Gradients
from headwater.projections import GradientProjection
from headwater.task import AttributionTask
from headwater.trajectory import Step

__all__ = ["DataValueEmbedding"]


class DataValueEmbedding(TrajectoryAttributor):
    """Follow the training run back from its last step to its first, all samples at once.

    For θ_{t+1} = θ_t - (η_t/|B_t|) Σ_{i∈B_t} ∇ℓ_i(θ_t) the effect of sample i on f_j through step t is
    -(η_t/|B_t|) ⟨∇ℓ_i(θ_t), u_{j,t+1}⟩, u_{j,T} = ∇f_j(θ_T) and u_{j,t} = (I - η_t H_t)₊ u_{j,t+1}.
    scores[i, j] is the sum over the steps that saw i, the change of f_j because they did, in its
    unit. Self-influence may be negative.

    H_t is the empirical Fisher matrix (1/|B_t|) Σ g_i g_iᵀ of the batch. (·)₊ sets negative eigenvalues
    to zero: a step that would overshoot along a direction (η_t λ > 1) forgets what was there before.
    Momentum is taken as the rate η/(1-β), see `Step`.

    Without a projection u is carried in the space of parameters, (m, p), and every call of
    `attribute` goes back through the run: O(T |B| p m). With one of dimension k the embeddings
    Σ_t (η_t/|B_t|) (…) P∇ℓ_i(θ_t) (n, k) are made in `cache`, O(T |B| k²) beside the gradients, and
    new test samples cost one product.

    Args:
        task: one checkpoint, the end of the run.
        steps: the run in its order, anything that `reversed` takes: a list, or a `TrainingRun`.
        projection: k ≪ p numbers per gradient, the same for all steps; None: all parameters.

    Raises:
        ValueError: if the task has several checkpoints, or a step names samples that do not exist.

    Reference:
        Wang et al., Capturing the Temporal Dependence of Training Data Influence, ICLR 2025.
    """

    def __init__(
        self,
        task: AttributionTask,
        steps: Reversible[Step],
        projection: GradientProjection | None = None,
    ) -> None:
        if len(task.checkpoints) != 1:
            raise ValueError(
                "DataValueEmbedding follows one run to its end, got "
                f"{len(task.checkpoints)} checkpoints; pass the last one, and the others as steps"
            )
        if isinstance(steps, Sized) and len(steps) == 0:
            raise ValueError("steps must hold the steps of the run, got none; see TrainingRun")
        super().__init__(task, [steps])
        self.projection, self.embeds = projection, projection is not None

    def vectors(self, gradients: Gradients) -> Tensor:
        """Return the gradients, projected if there is a projection, (n, k)."""
        projected = gradients if self.projection is None else gradients.project(self.projection)
        return projected.dense()

    def carried(self, u: Tensor, passage: Passage) -> Tensor:
        """Return u_t = ((1 - η wd) I - η H)₊ u_{t+1}, H the Fisher matrix of the batch."""
        step, g, products = passage.step, passage.gradients, passage.products
        kept = max(0.0, 1.0 - step.learning_rate * step.weight_decay)
        gram = (g @ g.T).mul_(step.learning_rate / len(g))  # has the eigenvalues x of ηH
        if float(gram.abs().sum(1).max()) > kept:  # Gershgorin: else no eigenvalue is larger
            wide = gram.to(torch.promote_types(gram.dtype, torch.float32))
            x, vectors = torch.linalg.eigh(wide)
            # On an eigenvector ηH is x, and here min(x, 1 - η wd).
            share = kept / x.clamp_min(max(kept, torch.finfo(x.dtype).tiny))
            cut = vectors @ (share[:, None] * (vectors.T @ products.to(x.dtype)))
            products = cut.to(u.dtype)
        return u.mul_(kept).addmm_(products.T, g, alpha=-1.0)
