"""Formed per-sample gradients of anything that PyTorch can differentiate, one sample at a time."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad, vmap

from headwater.batches import Batch, batch_size, sample_tensors, select, with_sample_tensors
from headwater.kernels import differentiable_attention
from headwater.memory import LARGE, rows_per_block
from headwater.parameters import ParameterLayout
from headwater.task import BoundModel, SampleFunction

__all__ = ["looped_gradients", "per_sample_gradients"]

log = logging.getLogger(__name__)


def per_sample_gradients(
    model: BoundModel,
    function: SampleFunction,
    batch: Batch,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Return ∇f_i for each sample of a batch by vmap(grad), every sample in a batch of its own.

    Where vmap cannot follow the model (control flow that depends on data, recurrent layers), by a
    loop over the samples.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,).
        batch: n samples.
        names: the parameters to differentiate by, in order; default: all selected ones.

    Returns:
        The gradients, (n, q), parameters in the order of `names`.

    Example:
        >>> from headwater import AttributionTask
        >>> f = lambda model, batch: model(batch)[:, 0]
        >>> task = AttributionTask(torch.nn.Linear(2, 1, bias=False), f)
        >>> per_sample_gradients(task.bind(), f, torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    chosen = {n: model.parameters[n] for n in (model.layout.names if names is None else names)}
    layout = ParameterLayout.of(chosen)

    def value(parameters: dict[str, Tensor], tensors: tuple[Tensor, ...]) -> Tensor:
        single = with_sample_tensors(batch, (t.unsqueeze(0) for t in tensors))
        return model.values(function, single, {**model.parameters, **parameters})[0]

    if batch_size(batch) == 0:  # vmap needs a sample
        return looped_gradients(model, function, batch, names)
    tensors = tuple(sample_tensors(batch))
    chunk = rows_per_block(layout.size, model.device, numbers=LARGE)
    try:
        with differentiable_attention(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            gradients = vmap(grad(value), in_dims=(None, 0), chunk_size=chunk)(chosen, tensors)
    except (RuntimeError, NotImplementedError) as error:
        log.info(
            "vmap cannot follow the model (%s): a loop over samples", str(error).split("\n")[0]
        )
        return looped_gradients(model, function, batch, names)
    return layout.flatten(gradients, batch_dims=1)


def looped_gradients(
    model: BoundModel,
    function: SampleFunction,
    batch: Batch,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Return ∇f_i for each sample of a batch by one backward pass each, (n, q).

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,).
        batch: n samples.
        names: the parameters to differentiate by, in order; default: all selected ones.
    """
    rows = [
        model.gradient(function, select(batch, slice(i, i + 1)), names)[None]
        for i in range(batch_size(batch))
    ]
    chosen = model.layout.names if names is None else names
    width = sum(model.parameters[name].numel() for name in chosen)
    return torch.cat([torch.zeros(0, width, dtype=model.dtype, device=model.device), *rows])
