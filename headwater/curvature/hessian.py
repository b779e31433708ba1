"""The exact Hessian of the mean loss, as products with blocks of vectors."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import grad

from headwater.batches import Batch
from headwater.curvature.curvature import Curvature
from headwater.curvature.operator import MEAN_OVER_SAMPLES
from headwater.curvature.streamed import Products, StreamedOperator
from headwater.gradients.source import GradientSource


class Hessian(StreamedOperator):
    """H = (1/n) Σ_i ∇²f_i(θ), for any model and any twice differentiable f.

    H v = ∇⟨∇f, v⟩ (reverse over reverse): all vectors share the graph of the gradient, so a product
    costs two passes along it and none through the model.

    Reference:
        Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 1994.

    Example:
        >>> from headwater import AttributionTask
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> task = AttributionTask(torch.nn.Linear(2, 1, bias=False), f)
        >>> H = Hessian(task.bind(), f, [torch.tensor([[1.0, 0.0], [0.0, 2.0]])])
        >>> (H @ torch.tensor([1.0, 1.0])).tolist()  # (1/n) Σ x xᵀ v
        [0.5, 2.0]
    """

    def linearised(self, batch: Batch) -> Products:
        """Return v ↦ ∇⟨∇ Σ_i f_i, v⟩ over the samples of one chunk; its graph is built once."""
        layout = self.model.layout
        theta = self.model.leaves()
        inputs = [theta[name] for name in layout.names]
        with torch.enable_grad():
            total = self.model.values(self.function, batch, theta).sum()
            found = grad(total, inputs, create_graph=True, materialize_grads=True)
        # A gradient that does not depend on the parameters has no graph, and adds nothing.
        bent = {n: g for n, g in zip(layout.names, found, strict=True) if g.requires_grad}

        def moved(vectors: Mapping[str, Tensor], batched: bool) -> Tensor:
            parts = grad(
                list(bent.values()),
                inputs,
                [vectors[name] for name in bent],
                retain_graph=True,
                is_grads_batched=batched,
                materialize_grads=True,
            )
            return layout.flatten(dict(zip(layout.names, parts, strict=True)), int(batched))

        def products(rows: Tensor) -> Tensor:
            if not bent:
                return torch.zeros_like(rows)
            if len(rows) > 1:
                # Some layers, such as GroupNorm, have no second derivative of several vectors at once.
                with contextlib.suppress(RuntimeError):
                    return moved(layout.unflatten(rows), batched=True)
            return torch.stack([moved(layout.unflatten(row), batched=False) for row in rows])

        return products


@dataclass(frozen=True)
class ExactHessian(Curvature):
    """C = H, the Hessian of the mean loss, for any loss; it may be indefinite."""

    offers = frozenset({MEAN_OVER_SAMPLES})
    passes = 2

    def operator(self, source: GradientSource, estimated: Mapping[str, Tensor]) -> Hessian:
        """Return the Hessian at the checkpoint."""
        return Hessian(source.model, source.task.loss, source.batches)
