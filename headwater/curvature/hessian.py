"""The exact Hessian of the mean loss, as products with blocks of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.func import grad, jvp, vmap

from headwater.batches import Batch
from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.streamed import StreamedOperator

__all__ = ["ExactHessian", "Hessian"]


class Hessian(StreamedOperator):
    """H = (1/n) Σ_i ∇²f_i(θ), for any model and any twice differentiable f.

    H v is the derivative of the gradient along v (forward over reverse). All vectors of a block
    share the forward and backward activations of the samples; samples are streamed in chunks, so
    the result does not depend on how the data is batched (up to rounding).

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,), the loss.
        batches: the training data, readable more than once.

    Raises:
        ValueError: if there is no sample.

    Reference:
        Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 1994.

    Example:
        >>> import torch
        >>> from headwater import AttributionTask
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> task = AttributionTask(torch.nn.Linear(2, 1, bias=False), f)
        >>> H = Hessian(task.bind(), f, [torch.tensor([[1.0, 0.0], [0.0, 2.0]])])
        >>> (H @ torch.tensor([1.0, 1.0])).tolist()  # (1/n) Σ x xᵀ v
        [0.5, 2.0]
    """

    def products(self, batch: Batch, rows: Tensor) -> Tensor:
        """Return Σ_i ∇²f_i v over the samples of one chunk."""
        layout, theta = self.model.layout, self.model.parameters

        def total(parameters: dict[str, Tensor]) -> Tensor:
            return self.model.values(self.function, batch, parameters).sum()

        def product(v: Tensor) -> Tensor:
            return layout.flatten(jvp(grad(total), (theta,), (layout.unflatten(v),))[1])

        return vmap(product)(rows)


@dataclass(frozen=True)
class ExactHessian(Curvature):
    """C = H, the Hessian of the mean loss, for any loss; it may be indefinite."""

    def operator(self, source: TrainingData, estimated: Mapping[str, Tensor]) -> Hessian:
        """Return the Hessian at the checkpoint."""
        return Hessian(source.model, source.task.loss, source.batches)
