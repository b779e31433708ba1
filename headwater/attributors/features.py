"""What a model knows of a sample: the input and the output of its last Linear layer, by hooks."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from headwater.batches import Batch, batch_size, to_device
from headwater.checks import check_finite
from headwater.task import BoundModel, SampleFunction


@dataclass(frozen=True)
class Features:
    """One row per sample, on both sides of a Linear layer: inputs a (n, d_in), outputs W a + b.

    `first_row` is the number of samples in the batches before.
    """

    first_row: int
    layer: str
    bias: bool
    inputs: Tensor
    outputs: Tensor


class FeatureReader:
    """Return what goes into a Linear layer and what comes out of it, for one batch after the other.

    The layer is given by its name as in ``named_modules``; default: the Linear module that is called
    last. Of several calls the last one counts. Cost: one forward pass.
    """

    def __init__(
        self, model: BoundModel, function: SampleFunction, layer: str | None = None
    ) -> None:
        self.model, self.function, self.layer = model, function, layer
        self._done, self._found = 0, ""  # samples so far, and their layer

    def __call__(self, batch: Batch) -> Features:
        """Return the features of the next batch, without a graph."""
        batch, n = to_device(batch, self.model.device), batch_size(batch)
        found, candidates = self._last_call(batch)
        if found is None:
            raise ValueError(
                f"the loss must call the Linear layer whose input are the features, "
                f"{self.layer or 'any'}, got no call; name one of {', '.join(candidates)} with layer="
            )
        if found.inputs.ndim != 2 or len(found.inputs) != n:
            raise ValueError(
                f"the layer of the features must see one row per sample, ({n}, d), got "
                f"{tuple(found.inputs.shape)} in {found.layer!r}; name a layer after the positions are "
                "pooled with layer="
            )
        check_finite("the features", torch.cat([found.inputs, found.outputs], 1), self._done)
        if self._found != found.layer and self._done:
            raise ValueError(
                f"the features must come from one layer for all batches, got {self._found!r} and "
                f"{found.layer!r}; name it with layer="
            )
        self._found, self._done = found.layer, self._done + n
        return found

    def _last_call(self, batch: Batch) -> tuple[Features | None, dict[str, nn.Linear]]:
        candidates = _linear_modules(self.model.module, self.layer)
        last: Features | None = None

        def record(name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            nonlocal last  # copies: what follows may change them in place
            inputs, outputs = args[0].detach().clone(), output.detach().clone()
            last = Features(self._done, name, module.bias is not None, inputs, outputs)

        with torch.no_grad(), ExitStack() as hooks:
            for name, module in candidates.items():
                hooks.enter_context(module.register_forward_hook(partial(record, name)))
            self.model.values(self.function, batch)
        return last, candidates


def values_at(
    model: BoundModel, function: SampleFunction, batch: Batch, layer: str, outputs: Tensor
) -> Tensor:
    """Return f_i (n,) with the output of a layer replaced: f as a function of z.

    Gradients flow to the outputs z (n, d_out), and no further; with z in float64, f is as well.
    ValueError if the layer is not called exactly once, or its output has another shape.
    """
    called = 0

    def replace(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        nonlocal called
        called += 1
        if output.shape != outputs.shape:
            raise ValueError(
                f"the layer whose output is replaced must return {tuple(outputs.shape)}, got "
                f"{tuple(output.shape)} in {layer!r}; name a layer that is called once with layer="
            )
        return outputs.clone()  # what follows may change it in place

    module = _linear_modules(model.module, layer)[layer]
    with module.register_forward_hook(replace):
        values = model.values(function, to_device(batch, model.device))
    if called != 1:
        raise ValueError(
            f"the layer whose output is replaced must be called once, got {called} calls of "
            f"{layer!r}; name another one with layer="
        )
    return values


def _linear_modules(module: nn.Module, layer: str | None) -> dict[str, nn.Linear]:
    linear = {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}
    if not linear:
        raise ValueError(
            "features need a model with a Linear layer, got none; use inputs=True with KNNShapley"
        )
    if layer is None:
        return linear
    if layer not in linear:
        raise ValueError(f"layer must name a Linear layer, {', '.join(linear)}, got {layer!r}")
    return {layer: linear[layer]}
