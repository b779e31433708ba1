"""Dense per-sample gradients of anything that torch.func can differentiate."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.func import grad, vmap

from headwater.batches import Batch, tensors_of, with_tensors
from headwater.parameters import ParameterLayout
from headwater.task import BoundModel, SampleFunction

__all__ = ["per_sample_gradients"]

WORKSPACE = 2**26
"""Numbers that the gradients of one chunk of samples may hold (256 MiB in float32)."""


def per_sample_gradients(
    model: BoundModel,
    function: SampleFunction,
    batch: Batch,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Return ∇f_i for each sample of a batch by vmap(grad), every sample in a batch of its own.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,).
        batch: n samples.
        names: the parameters to differentiate by, in order; default: all selected ones.

    Returns:
        The gradients, (n, q), parameters in the order of `names`.

    Example:
        >>> import torch
        >>> from headwater import AttributionTask
        >>> f = lambda model, batch: model(batch)[:, 0]
        >>> task = AttributionTask(torch.nn.Linear(2, 1, bias=False), f)
        >>> per_sample_gradients(task.bind(), f, torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    chosen = {
        name: model.parameters[name] for name in (model.layout.names if names is None else names)
    }
    layout = ParameterLayout.of(chosen)

    def value(parameters: dict[str, Tensor], tensors: tuple[Tensor, ...]) -> Tensor:
        single = with_tensors(batch, (t.unsqueeze(0) for t in tensors))
        return model.values(function, single, {**model.parameters, **parameters})[0]

    tensors = tuple(tensors_of(batch))
    chunk = max(1, WORKSPACE // max(1, layout.size))
    gradients = vmap(grad(value), in_dims=(None, 0), chunk_size=chunk)(chosen, tensors)
    return layout.flatten(gradients, batch_dims=1)
