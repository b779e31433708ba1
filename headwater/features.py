"""What a model knows of a sample: the input and the output of its last Linear layer, by hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headwater.batches import Batch, batch_size, to_device
from headwater.checks import check_finite
from headwater.progress import track
from headwater.task import BoundModel, SampleFunction

__all__ = ["Features", "all_features", "features", "values_at"]

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Tensor | None]


@dataclass(frozen=True)
class Features:
    """One row a sample, on both sides of a Linear layer.

    Args:
        layer: the name of the layer.
        bias: whether the layer has a bias.
        inputs: a, (n, d_in): the representation of the samples.
        outputs: z = W a + b, (n, d_out).
    """

    layer: str
    bias: bool
    inputs: Tensor
    outputs: Tensor


def features(
    model: BoundModel, function: SampleFunction, batch: Batch, layer: str | None = None
) -> Features:
    """Return what goes into a Linear layer and what comes out of it.

    z_i = W a_i + b. The layer must see one row a sample; of a layer that is called more than once
    the last call counts. Cost: one forward pass.

    Args:
        model: the model at one checkpoint.
        function: calls the model on a batch as in training: the loss, or the target.
        batch: n samples.
        layer: the module's name, nested names as in ``named_modules``; default: the Linear module
            that the forward pass calls last.

    Returns:
        The inputs (n, d_in) and outputs (n, d_out), without a graph.

    Raises:
        ValueError: if there is no such layer, it is not called, or it sees several rows a sample.

    Example:
        >>> from headwater import AttributionTask, targets
        >>> task = AttributionTask(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        ...                        targets.cross_entropy)
        >>> batch = torch.ones(5, 3), torch.zeros(5, dtype=torch.int64)
        >>> found = features(task.bind(), task.loss, batch)
        >>> found.layer, tuple(found.inputs.shape), tuple(found.outputs.shape)
        ('2', (5, 4), (5, 2))
    """
    batch = to_device(batch, model.device)
    candidates = _linear_modules(model.module, layer)
    last: tuple[str, Tensor, Tensor] | None = None

    def record(name: str) -> Hook:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            nonlocal last  # copies: what follows may change them in place
            last = name, args[0].detach().clone(), output.detach().clone()

        return hook

    with torch.no_grad(), _hooks({module: record(name) for name, module in candidates.items()}):
        model.values(function, batch)
    if last is None:
        raise ValueError(
            f"the loss must call the Linear layer whose input are the features, {layer or 'any'}, "
            f"got no call; name one of {', '.join(candidates)} with layer="
        )
    name, inputs, outputs = last
    n = batch_size(batch)
    if inputs.ndim != 2 or len(inputs) != n:
        raise ValueError(
            f"the layer of the features must see one row a sample, ({n}, d), got "
            f"{tuple(inputs.shape)} in {name!r}; name a layer after the positions are pooled with layer="
        )
    return Features(name, candidates[name].bias is not None, inputs, outputs)


def all_features(
    model: BoundModel, function: SampleFunction, batches: Iterable[Batch], layer: str | None = None
) -> Features:
    """Return the features of all samples of a loader, batch by batch in order.

    Args:
        model: the model at one checkpoint.
        function: calls the model on a batch, see `features`.
        batches: n samples in all.
        layer: the module's name; default: the Linear module that is called last.

    Returns:
        The inputs (n, d_in) and outputs (n, d_out).

    Raises:
        ValueError: if a feature is not finite, see also `features`.

    Example:
        >>> from headwater import AttributionTask, targets
        >>> task = AttributionTask(nn.Linear(3, 2), targets.cross_entropy)
        >>> batch = torch.ones(5, 3), torch.zeros(5, dtype=torch.int64)
        >>> all_features(task.bind(), task.loss, [batch, batch]).inputs.shape
        torch.Size([10, 3])
    """
    parts: list[Features] = []
    done = 0
    for batch in track(batches, "features"):
        part = features(model, function, batch, layer)
        check_finite("the features", torch.cat([part.inputs, part.outputs], 1), done)
        parts.append(part)
        done += len(part.inputs)
    names = sorted({part.layer for part in parts})
    if len(names) != 1:
        raise ValueError(
            "the features must come from one layer for all batches, got "
            f"{', '.join(names) or 'no batch'}; name it with layer="
        )
    inputs, outputs = ([getattr(p, side) for p in parts] for side in ("inputs", "outputs"))
    return Features(names[0], parts[0].bias, torch.cat(inputs), torch.cat(outputs))


def values_at(
    model: BoundModel, function: SampleFunction, batch: Batch, layer: str, outputs: Tensor
) -> Tensor:
    """Return f_i with the output of a layer replaced: f as a function of z.

    Gradients flow to the outputs, and no further.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,).
        batch: n samples.
        layer: the module's name, called once.
        outputs: z, (n, d_out); in float64, f is computed in float64.

    Returns:
        f, (n,).

    Raises:
        ValueError: if the layer is not called exactly once, or its output has another shape.

    Example:
        >>> from headwater import AttributionTask, targets
        >>> task = AttributionTask(nn.Sequential(nn.Linear(3, 2)), targets.logit)
        >>> batch = torch.ones(1, 3), torch.tensor([1])
        >>> values_at(task.bind(), task.loss, batch, "0", torch.tensor([[0.0, 5.0]])).tolist()
        [5.0]
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
    with _hooks({module: replace}):
        values = model.values(function, to_device(batch, model.device))
    if called != 1:
        raise ValueError(
            f"the layer whose output is replaced must be called once, got {called} calls of "
            f"{layer!r}; name another one with layer="
        )
    return values


def _linear_modules(module: nn.Module, layer: str | None) -> dict[str, nn.Linear]:
    """Return the named Linear module, or all of them."""
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


@contextmanager
def _hooks(hooks: dict[nn.Linear, Hook]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
