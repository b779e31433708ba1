"""Unrolled differentiation: the exact derivative of a training run by the weight of each sample."""

from __future__ import annotations

from collections.abc import Reversible, Sequence

from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.attributors.data_value_embedding import DataValueEmbedding
from headwater.attributors.source import GradientSource
from headwater.batches import Batch
from headwater.curvature import Hessian
from headwater.task import AttributionTask, BoundModel
from headwater.trajectory import Step

__all__ = ["Unrolling"]


class Unrolling(DataValueEmbedding):
    """Differentiate whole training runs, with the exact Hessian of every batch.

    scores[i, j] = df_j(θ_T)/dw_i at w = 1, w_i the weight of sample i in every batch that holds it:
    -Σ_t (η_t/|B_t|) ⟨∇ℓ_i(θ_t), u_{j,t+1}⟩, u_{j,T} = ∇f_j(θ_T), u_{j,t} = (I - η_t H_t) u_{j,t+1}. It is
    the estimated f_j(with i) - f_j(without i), in the unit of f, of the run as it was: no optimum, no
    convexity and no damping are assumed. With several runs scores are averaged. Exact for plain
    gradient descent; momentum is taken as the rate η/(1-β), see `Step`; dropout is off.
    Self-influence: minus the score of a sample for its own loss; not always ≥ 0. Cost: a product with the
    Hessian of the batch for each step and target, O(T |B| p m); memory m p.

    Args:
        task: the ends of the runs.
        runs: one run per checkpoint, each anything that `reversed` takes: a list, or a `TrainingRun`.

    Raises:
        ValueError: if there is not one run a checkpoint, or a step names samples that do not exist.

    Reference:
        Hara, Nitanda and Maehara, Data Cleansing for Models Trained with SGD, NeurIPS 2019.
        Ilyas and Engstrom, MAGIC: Near-Optimal Data Attribution for Deep Learning, 2025.

    Example:
        >>> import torch  # ℓ = (w x)²/2, one step of rate 0.1 from w = 2
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> task = AttributionTask(model, f, checkpoints={"weight": torch.full((1, 1), 1.8)})
        >>> run = [Step({"weight": torch.full((1, 1), 2.0)}, learning_rate=0.1)]
        >>> x = [torch.ones(1, 1)]  # dθ/dw = -0.1 · 2, df/dθ = 1.8
        >>> round(float(Unrolling(task, [run]).cache(x).attribute(x, x)), 3)
        -0.36
    """

    def __init__(self, task: AttributionTask, runs: Sequence[Reversible[Step]]) -> None:
        Attributor.__init__(self, task)
        if len(runs) != len(task.checkpoints):
            raise ValueError(
                "Unrolling needs one run a checkpoint, got "
                f"{len(runs)} for {len(task.checkpoints)} checkpoints; see headwater.benchmark.replay"
            )
        self.runs, self.projection = list(runs), None

    def _run(self, source: GradientSource) -> Reversible[Step]:
        return self.runs[source.index]

    def _before(
        self, u: Tensor, step: Step, model: BoundModel, batch: Batch, products: Tensor, g: Tensor
    ) -> Tensor:
        product = Hessian(model, self.task.loss, [batch]).apply(u)
        decayed = 1.0 - step.learning_rate * step.weight_decay
        return u.mul_(decayed).sub_(product, alpha=step.learning_rate)
