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

log = logging.getLogger(__name__)


def per_sample_gradients(
    model: BoundModel, function: SampleFunction, batch: Batch, names: Sequence[str] | None = None
) -> Tensor:
    """Return ∇f_i for each sample of a batch, (n, q), by vmap(grad), each in a batch of its own.

    Where vmap cannot follow the model (control flow that depends on data, recurrent layers), by a
    loop over the samples. The parameters are in the order of names; default: all selected ones.
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
        reason = str(error).split("\n")[0]
        log.info("vmap cannot follow the model (%s): a loop over samples", reason)
        return looped_gradients(model, function, batch, names)
    return layout.flatten(gradients, batch_dims=1)


def looped_gradients(
    model: BoundModel, function: SampleFunction, batch: Batch, names: Sequence[str] | None = None
) -> Tensor:
    """Return ∇f_i for each sample of a batch, (n, q), by one backward pass each."""
    singles = [select(batch, slice(i, i + 1)) for i in range(batch_size(batch))]
    rows = [model.gradient(function, single, names)[None] for single in singles]
    width = sum(model.parameters[name].numel() for name in names or model.layout.names)
    return torch.cat([torch.zeros(0, width, dtype=model.dtype, device=model.device), *rows])
