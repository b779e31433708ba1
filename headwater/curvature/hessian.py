"""The exact Hessian of the mean loss, as products with blocks of vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from headwater.batches import Batch, batch_size, map_tensors, to_device
from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.samples import SampleOperator, select_samples
from headwater.task import BoundModel, SampleFunction

__all__ = ["ExactHessian", "Hessian"]

PAIRS = 100_000
"""Samples × vectors in flight: large enough for full GEMMs, small enough for the cache."""


class Hessian(SampleOperator):
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
        >>> from headwater import AttributionTask
        >>> f = lambda model, x: 0.5 * model(x)[:, 0] ** 2
        >>> task = AttributionTask(torch.nn.Linear(2, 1, bias=False), f)
        >>> H = Hessian(task.bind(), f, [torch.tensor([[1.0, 0.0], [0.0, 2.0]])])
        >>> (H @ torch.tensor([1.0, 1.0])).tolist()  # (1/n) Σ x xᵀ v
        [0.5, 2.0]
    """

    def __init__(
        self, model: BoundModel, function: SampleFunction, batches: Iterable[Batch]
    ) -> None:
        self.model, self.function, self.batches = model, function, batches
        self.n = sum(batch_size(batch) for batch in batches)
        self._kept: list[Batch] | None = None
        if self.n == 0:
            raise ValueError("the Hessian needs training samples, got none")

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.model.layout.size

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next(iter(self.model.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return self.model.device

    def apply(self, rows: Tensor) -> Tensor:
        """Return H v for each row v, (m, p)."""
        total = torch.zeros_like(rows)
        vectors = max(1, min(len(rows), 128))
        for batch in self._chunks(max(1, PAIRS // vectors)):
            for i in range(0, len(rows), vectors):
                total[i : i + vectors] += self._products(batch, rows[i : i + vectors])
        return total.div_(self.n)

    def on(self, samples: Tensor) -> Hessian:
        """Return the Hessian of the mean over some samples; the data is kept in memory from now on."""
        if self._kept is None:
            self._kept = list(self.batches)
        return Hessian(self.model, self.function, select_samples(self._kept, samples))

    def _chunks(self, samples: int) -> Iterator[Batch]:
        for batch in self.batches:
            for i in range(0, batch_size(batch), samples):
                chunk = map_tensors(batch, lambda t, i=i: t[i : i + samples])  # type: ignore[misc]
                yield to_device(chunk, self.device)

    def _products(self, batch: Batch, rows: Tensor) -> Tensor:
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
