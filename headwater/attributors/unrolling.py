"""Unrolled differentiation: the exact derivative of a training run by the weight of each sample."""

from torch import Tensor

from headwater.attributors.trajectory_attributor import Passage, TrajectoryAttributor
from headwater.curvature import Hessian

__all__ = ["Unrolling"]


class Unrolling(TrajectoryAttributor):
    """Differentiate whole training runs, with the exact Hessian of every batch.

    scores[i, j] = df_j(θ_T)/dw_i at w = 1, w_i the weight of sample i in every batch that holds it:
    -Σ_t (η_t/|B_t|) ⟨∇ℓ_i(θ_t), u_{j,t+1}⟩, u_{j,T} = ∇f_j(θ_T), u_{j,t} = (I - η_t H_t) u_{j,t+1}. It is
    the estimated f_j(with i) - f_j(without i), in the unit of f, of the run as it was. With several runs
    scores are averaged. Exact for plain gradient descent; momentum is taken as the rate η/(1-β), see
    `Step`; dropout is off. Self-influence may be negative. Cost: a product with the Hessian of the batch
    for each step and target, O(T |B| p m); memory m p.

    Reference:
        Hara, Nitanda and Maehara, Data Cleansing for Models Trained with SGD, NeurIPS 2019.
        Ilyas and Engstrom, MAGIC: Near-Optimal Data Attribution for Deep Learning, 2025.

    Example:
        >>> import torch  # ℓ = (w x)²/2, one step of rate 0.1 from w = 2
        >>> from headwater import AttributionTask
        >>> from headwater.trajectory import Step
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> task = AttributionTask(model, f, checkpoints={"weight": torch.full((1, 1), 1.8)})
        >>> run = [Step({"weight": torch.full((1, 1), 2.0)}, learning_rate=0.1)]
        >>> x = [torch.ones(1, 1)]  # dθ/dw = -0.1 · 2, df/dθ = 1.8
        >>> round(float(Unrolling(task, [run]).cache(x).attribute(x, x)), 3)
        -0.36
    """

    passes = 2

    def carried(self, u: Tensor, passage: Passage) -> Tensor:
        """Return u_t = ((1 - η wd) I - η H) u_{t+1}, H the Hessian of the batch."""
        step = passage.step
        product = Hessian(passage.model, self.task.loss, passage.batches).apply(u)
        decayed = 1.0 - step.learning_rate * step.weight_decay
        return u.mul_(decayed).sub_(product, alpha=step.learning_rate)
