"""The calls of layers during one pass over a batch, and the gradients that follow from them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.batches import Batch, batch_size
from headwater.gradients.forms import added
from headwater.gradients.rules import Rule
from headwater.gradients.term import Dense, Term
from headwater.gradients.uses import Use
from headwater.task import BoundModel, SampleFunction

__all__ = ["Call", "Calls", "Layout", "layouts_of", "record", "term_of"]


class Layout(Enum):
    """Which dimension of what a layer gets and gives is the sample."""

    FIRST = 0
    """(n, ...), or (n · T, ...) with the positions of one sample side by side."""
    SECOND = 1
    """(T, n, ...), or (T · n, ...)."""


@dataclass(frozen=True)
class Call:
    """One call of a layer: what its rule keeps of the input, and ∂f/∂ its output."""

    module: nn.Module
    rule: Rule
    kept: Tensor
    output_gradient: Tensor
    dtype: torch.dtype
    constant: bool
    """Whether no recorded layer comes before it: its input depends on no parameter."""


Calls = dict[str, list[Call | None]]
"""By the name of the layer; None is a call that its rule does not know."""


def record(
    model: BoundModel,
    function: SampleFunction,
    batch: Batch,
    rules: Mapping[str, Rule],
    spread: Collection[str] = (),
) -> tuple[Calls, Tensor]:
    """Run f once forward and once backward; return the calls of the named layers, and f (n,).

    Inputs and output gradients have the dtype of the parameters, also under `torch.autocast`.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,).
        batch: n samples.
        rules: the layers to record, by name, and their rules.
        spread: those that are called once for all samples (positions, (1, T) or (T,)); what they
            return is given to each sample as a copy of its own, so that it has its own gradient.
    """
    n = batch_size(batch)
    seen: list[tuple[str, nn.Module, Tensor, Tensor, bool]] = []
    calls: Calls = defaultdict(list)

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], z: Any) -> Any:
            given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            if not isinstance(z, Tensor) or not 1 <= len(given) <= rules[name].arguments:
                calls[name].append(None)
                return z
            x, constant = given[0].detach(), not z.requires_grad
            if constant:
                z.requires_grad_()
                if name in spread:
                    x, z = _spread(x, n), _spread(z, n)
            seen.append((name, module, rules[name].prepare(module, x), z, constant))
            return z.clone()  # what follows may change it in place

        return hook

    modules = dict(model.module.named_modules())
    handles = [modules[m].register_forward_hook(hook_of(m), with_kwargs=True) for m in rules]
    try:
        with torch.enable_grad():
            values = model.values(function, batch)
            outputs = [z for *_, z, _ in seen]
            found: tuple[Tensor | None, ...] = (None,) * len(outputs)
            if outputs and values.requires_grad:
                found = torch.autograd.grad(values.sum(), outputs, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    for (name, module, kept, z, constant), e in zip(seen, found, strict=True):
        if e is not None:  # else the value does not depend on this call
            x = kept.to(model.dtype) if kept.is_floating_point() else kept
            call = Call(module, rules[name], x, e.to(model.dtype), z.dtype, constant)
            calls[name].append(call)
    return dict(calls), values.detach()


def _spread(t: Tensor, n: int) -> Tensor:
    """Return n copies of what belongs to all samples, (1, ...) or (...) as (n, ...)."""
    single = t if t.shape[0] == 1 else t.unsqueeze(0)
    return single.expand(n, *single.shape[1:])


def layouts_of(calls: list[Call | None], n: int) -> list[Layout]:
    """Return the layouts that inputs and outputs of all calls of a layer have room for.

    Where each sample has one position, both layouts are the same: then it is the first.
    """
    if None in calls:
        return []
    known = [call for call in calls if call is not None]
    fitting = [layout for layout in Layout if all(_sides(c, n, layout) for c in known)]
    positions = {sides[1].shape[1] for c in known if (sides := _sides(c, n, Layout.FIRST))}
    return fitting[:1] if positions == {1} else fitting


def term_of(
    parameters: tuple[str, ...],
    model: BoundModel,
    uses: Sequence[Use],
    layouts: Mapping[str, Layout],
    calls: Calls,
    n: int,
) -> Term | None:
    """Return the gradients of a group of parameters, the sum over all calls of their layers.

    Args:
        parameters: those of the group: a weight, its bias or both.
        model: what they belong to.
        uses: the layers that use them.
        layouts: by the name of a layer, where its samples are.
        calls: from `record`.
        n: samples.

    Returns:
        The term, zeros where there is no call; None: a call has no place for n samples.
    """
    shapes = dict(model.layout.shapes)
    total: Term | None = None
    for use in uses:
        for call in calls.get(use.module, ()):
            if call is None or use.module not in layouts:
                return None
            sides = _sides(call, n, layouts[use.module])
            if sides is None:
                return None
            term = _of_call(call, use, parameters, shapes, *sides)
            total = term if total is None else added(total, term)
    if total is not None:
        return total
    width = sum(math.prod(shapes[name]) for name in parameters)
    return Dense(torch.zeros(n, width, dtype=model.dtype, device=model.device))


def _of_call(
    call: Call,
    use: Use,
    parameters: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]],
    x: Tensor,
    e: Tensor,
) -> Term:
    if use.weight in parameters and use.weight is not None:
        rows = _among(e, use.weight_rows, shapes[use.weight][0])
        return call.rule.gradient(call.module, x, rows, use.bias in parameters)
    assert use.bias is not None
    total = e.sum(1) if e.ndim == 3 else e.flatten(3).sum((1, 3))
    return Dense(_among(total, use.bias_rows, shapes[use.bias][0]))


def _sides(call: Call, n: int, layout: Layout) -> tuple[Tensor, Tensor] | None:
    """Return input and output gradient as (n, P, ...); None: they have no place for n samples."""
    x = _arranged(call.kept, call.rule.inputs, n, layout)
    e = _arranged(call.output_gradient, call.rule.outputs, n, layout)
    return None if x is None or e is None or x.shape[1] != e.shape[1] else (x, e)


def _arranged(t: Tensor, features: int, n: int, layout: Layout) -> Tensor | None:
    """Return a tensor as (n, P, ...) with its last `features` dimensions as they are."""
    lead = t.ndim - features if features >= 0 else 1
    count = t.shape[:lead].numel()
    if lead < 1 or (count % n if n else count):
        return None
    rest = t.shape[lead:]
    if layout is Layout.FIRST:
        return t.reshape(n, count // max(1, n), *rest)
    if lead > 1:
        if t.shape[1] != n:
            return None
        return t.transpose(0, 1).reshape(n, count // max(1, n), *rest)
    return t.reshape(count // max(1, n), n, *rest).transpose(0, 1)


def _among(e: Tensor, rows: tuple[int, int] | None, size: int) -> Tensor:
    """Return output gradients of some rows among those of all: the others are zero."""
    if rows is None or rows == (0, size):
        return e
    return F.pad(e, (rows[0], size - rows[1]))
