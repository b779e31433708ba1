"""Functions of a model as functions of one flat vector of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headwater.batches import Batch
from headwater.checks import check_shape
from headwater.parameters import ParameterLayout
from headwater.task import AttributionTask, BoundModel, SampleFunction


@dataclass(frozen=True)
class FlatFunction:
    """g(θ, batch) -> (batch,), θ (p,) the selected parameters of a model; the others are kept."""

    function: SampleFunction
    model: BoundModel

    @property
    def layout(self) -> ParameterLayout:
        """Where each parameter lies in the vector."""
        return self.model.layout

    @property
    def vector(self) -> Tensor:
        """θ as the model has it, (p,)."""
        return self.layout.flatten(self.model.parameters)

    def __call__(self, vector: Tensor, batch: Batch) -> Tensor:
        """Return f at the parameters θ, one value per sample; ValueError if θ is not (p,)."""
        check_shape("the parameters", vector, (self.layout.size,))
        return self.model.values(self.function, batch, self.layout.unflatten(vector))


def flattened(
    model: nn.Module, layers: Sequence[str] | str | None = None
) -> Callable[[SampleFunction], FlatFunction]:
    """Decorate f(model, batch) to be a function of the model's parameters as one vector.

    torch.func takes it as it is: ``torch.func.hessian(lambda v: g(v, batch).mean())(g.vector)``.

    Args:
        model: a snapshot of it is taken, in evaluation mode.
        layers: module names or patterns that restrict the vector; default: all trainable parameters.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1, bias=False))
        >>> @flattened(model, layers="1")
        ... def output(model, x):
        ...     return model(x)[:, 0]
        >>> import torch
        >>> output(torch.zeros(2), torch.ones(4, 3)).tolist(), output.layout.names
        ([0.0, 0.0, 0.0, 0.0], ('1.weight',))
    """
    return lambda f: FlatFunction(f, AttributionTask(model, f, layers=layers).bind())
