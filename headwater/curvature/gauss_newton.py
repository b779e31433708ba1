"""The full Gauss-Newton matrix of the mean loss, as products with blocks of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap

from headwater.batches import Batch, to_device
from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.operator import MEAN_OVER_SAMPLES
from headwater.curvature.streamed import Products, StreamedOperator
from headwater.task import AttributionTask, BoundModel, SampleFunction

__all__ = ["FullGaussNewton", "GaussNewtonOperator"]


class GaussNewtonOperator(StreamedOperator):
    """G = (1/n) Σ_i J_iᵀ (∂²ℓ_i/∂z²) J_i, z the output of the model and J_i = ∂z_i/∂θ.

    It is the Hessian without the curvature of the model itself, positive semi-definite wherever the
    loss is convex in z, and equal to the Fisher matrix for cross-entropy and squared errors. A
    product is a forward derivative of the model, the Hessian of the loss in z and a backward pass;
    all vectors of a block share the activations, and samples are streamed in chunks.

    Args:
        model: the model at one checkpoint; the loss calls it once, and it returns one tensor.
        function: loss(model, batch) -> (batch,), a function of that output.
        batches: the training data, readable more than once.

    Raises:
        ValueError: if there is no sample.

    Reference:
        Schraudolph, Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, Neural
        Computation 2002.

    Example:
        >>> from headwater import AttributionTask
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> task = AttributionTask(torch.nn.Linear(2, 1, bias=False), f)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> (GaussNewtonOperator(task.bind(), f, [x]) @ torch.tensor([1.0, 1.0])).tolist()
        [0.5, 2.0]
    """

    def linearised(self, batch: Batch) -> Products:
        """Return v ↦ Σ_i J_iᵀ (∂²ℓ_i/∂z²) J_i v over the samples of one chunk."""
        layout, theta = self.model.layout, self.model.parameters

        def output(parameters: dict[str, Tensor]) -> Tensor:
            return _output(self.model, self.function, batch, parameters)

        def total(z: Tensor) -> Tensor:
            return self.function(_Output(self.model.module, z), batch).sum()

        z, pull_back = vjp(output, theta)[:2]
        slope = grad(total)

        def product(v: Tensor) -> Tensor:
            moved = jvp(output, (theta,), (layout.unflatten(v),))[1]
            return layout.flatten(pull_back(jvp(slope, (z,), (moved,))[1])[0])

        return vmap(product)


@dataclass(frozen=True)
class FullGaussNewton(Curvature):
    """C = G = (1/n) Σ_i J_iᵀ (∂²ℓ_i/∂z²) J_i, for any loss that calls the model once.

    `GaussNewton` keeps one row a sample, along its margin; this keeps all classes, at the price of
    products through the model.
    """

    offers: ClassVar[frozenset[str]] = frozenset({MEAN_OVER_SAMPLES})

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse a loss that is no function of one output of the model."""
        batch = to_device(batch, model.device)
        with torch.no_grad():
            wanted = model.values(task.loss, batch)
            z = _output(model, task.loss, batch, model.parameters)
            found = task.loss(_Output(model.module, z), batch)
        if not torch.allclose(found, wanted, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError(
                "FullGaussNewton needs a loss that depends on the parameters through the model's "
                "output alone, got another value for the same output; use ExactHessian"
            )

    def operator(
        self, source: TrainingData, estimated: Mapping[str, Tensor]
    ) -> GaussNewtonOperator:
        """Return the Gauss-Newton matrix at the checkpoint."""
        return GaussNewtonOperator(source.model, source.task.loss, source.batches)


class _Output:
    """Stands for the model in the loss: a call returns z; attributes are the model's own."""

    def __init__(self, module: nn.Module, z: Tensor) -> None:
        self._module, self._z = module, z

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._z

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _output(
    model: BoundModel, loss: SampleFunction, batch: Batch, parameters: Mapping[str, Tensor]
) -> Tensor:
    """Return what the model returns where the loss calls it.

    Raises:
        ValueError: if it is not called once, or does not return a tensor.
    """
    seen: list[Any] = []
    handle = model.module.register_forward_hook(lambda _, args, z: seen.append(z))
    try:
        model.values(loss, batch, parameters)
    finally:
        handle.remove()
    if len(seen) != 1 or not isinstance(seen[0], Tensor):
        kinds = ", ".join(type(z).__name__ for z in seen) or "none"
        raise ValueError(
            "the Gauss-Newton matrix needs a loss that calls the model once and gets one tensor, "
            f"got {len(seen)} calls ({kinds}); use ExactHessian"
        )
    return seen[0]
