"""The Gauss-Newton matrix of the mean loss, as products with blocks of vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap

from headwater.batches import Batch, to_device
from headwater.curvature.curvature import Curvature
from headwater.curvature.operator import MEAN_OVER_SAMPLES
from headwater.curvature.streamed import Products, StreamedOperator
from headwater.gradients.source import GradientSource
from headwater.model_outputs import empty_output, logits_of, replace_logits
from headwater.task import AttributionTask, BoundModel, SampleFunction


class GaussNewtonOperator(StreamedOperator):
    """G = (1/n) Σ_i J_iᵀ (∂²ℓ_i/∂z²) J_i, z the logits of the model and J_i = ∂z_i/∂θ.

    It is the Hessian without the curvature of the model itself, positive semi-definite wherever the
    loss is convex in z, and equal to the Fisher matrix for cross-entropy and squared errors. A
    product is a forward derivative of the model, the Hessian of the loss in z and a backward pass.
    The loss calls the model once, and z is what `headwater.model_outputs.logits_of` finds in its output.

    Reference:
        Schraudolph, Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, Neural
        Computation 2002.
    """

    def linearised(self, batch: Batch) -> Products:
        """Return v ↦ Σ_i J_iᵀ (∂²ℓ_i/∂z²) J_i v over the samples of one chunk."""
        layout, theta = self.model.layout, self.model.parameters
        empty: list[Any] = []

        def logits(parameters: dict[str, Tensor]) -> Tensor:
            found = _output(self.model, self.function, batch, parameters)
            empty[:] = [empty_output(found)]
            return logits_of(found)

        def total(z: Tensor) -> Tensor:
            return self.function(_Output(self.model.module, empty[0], z), batch).sum()

        z, pull_back = vjp(logits, theta)[:2]
        slope = grad(total)

        def product(v: Tensor) -> Tensor:
            moved = jvp(logits, (theta,), (layout.unflatten(v),))[1]
            return layout.flatten(pull_back(jvp(slope, (z,), (moved,))[1])[0])

        return vmap(product)


@dataclass(frozen=True)
class GaussNewton(Curvature):
    """C = G = (1/n) Σ_i J_iᵀ (∂²ℓ_i/∂z²) J_i, for any loss that calls the model once.

    `MarginGaussNewton` keeps one row per sample, along its margin; this keeps all classes, at the
    price of products through the model.
    """

    offers = frozenset({MEAN_OVER_SAMPLES})
    passes = 2

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse a loss that is no function of one output of the model."""
        batch = to_device(batch, model.device)
        with torch.no_grad():
            wanted = model.values(task.loss, batch)
            output = _output(model, task.loss, batch, model.parameters)
            stand_in = _Output(model.module, empty_output(output), logits_of(output))
            cause, got = None, "got another value for the same logits"
            try:
                found = task.loss(stand_in, batch)
            except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
                cause, got = error, f"got none for these alone ({error})"
        if cause or not torch.allclose(found, wanted, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError(
                "GaussNewton needs a loss that depends on the parameters through the model's logits "
                f"alone, {got}; use ExactHessian"
            ) from cause

    def operator(
        self, source: GradientSource, estimated: Mapping[str, Tensor]
    ) -> GaussNewtonOperator:
        """Return the Gauss-Newton matrix at the checkpoint."""
        return GaussNewtonOperator(source.model, source.task.loss, source.batches)


class _Output:
    """Stands for the model in the loss: a call returns z in the form `empty`, all else is the model's."""

    def __init__(self, module: nn.Module, empty: Any, z: Tensor) -> None:
        self._module, self._empty, self._z = module, empty, z

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return replace_logits(self._empty, self._z)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _output(
    model: BoundModel, loss: SampleFunction, batch: Batch, parameters: Mapping[str, Tensor]
) -> Any:
    """Return what the model returns where the loss calls it; refuse a loss that does so not once."""
    seen: list[Any] = []
    handle = model.module.register_forward_hook(lambda _, args, output: seen.append(output))
    try:
        model.values(loss, batch, parameters)
    finally:
        handle.remove()
    if len(seen) != 1:
        kinds = ", ".join(type(output).__name__ for output in seen) or "none"
        raise ValueError(
            "the Gauss-Newton matrix needs a loss that calls the model once, "
            f"got {len(seen)} calls ({kinds}); use ExactHessian"
        )
    logits_of(seen[0])
    return seen[0]
