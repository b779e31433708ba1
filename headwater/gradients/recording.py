"""The calls of layers during one pass over a batch, and the gradients that follow from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.batches import Batch
from headwater.gradients.dense import Dense
from headwater.gradients.rules import Rule
from headwater.gradients.term import Term
from headwater.gradients.uses import Use
from headwater.task import BoundModel, SampleFunction

__all__ = ["Call", "Layout", "record", "term_of"]


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


def record(
    model: BoundModel, function: SampleFunction, batch: Batch, rules: Mapping[str, Rule]
) -> tuple[dict[str, list[Call]], Tensor]:
    """Run f once forward and once backward; return the calls of the named layers, and f (n,).

    Inputs and output gradients have the dtype of the parameters, also under `torch.autocast`.
    """
    seen: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], z: Any) -> Any:
            x = args[0] if args else next(iter(kwargs.values()), None)
            if not isinstance(x, Tensor) or not isinstance(z, Tensor):
                return z
            if not z.requires_grad:
                z.requires_grad_()
            seen.append((name, module, rules[name].prepare(module, x.detach()), z))
            return z.clone()  # what follows may change it in place

        return hook

    modules = dict(model.module.named_modules())
    handles = [modules[n].register_forward_hook(hook_of(n), with_kwargs=True) for n in rules]
    try:
        with torch.enable_grad():
            values = model.values(function, batch)
            outputs = [z for *_, z in seen]
            found: tuple[Tensor | None, ...] = (None,) * len(outputs)
            if outputs and values.requires_grad:
                found = torch.autograd.grad(values.sum(), outputs, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    calls: dict[str, list[Call]] = defaultdict(list)
    for (name, module, kept, z), e in zip(seen, found, strict=True):
        if e is not None:  # else the value does not depend on this call
            x = kept.to(model.dtype) if kept.is_floating_point() else kept
            calls[name].append(Call(module, rules[name], x, e.to(model.dtype), z.dtype))
    return calls, values.detach()


def term_of(
    call: Call,
    use: Use,
    parameters: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]],
    n: int,
    layout: Layout,
) -> Term | None:
    """Return what one call adds to the gradients of a group of parameters.

    Args:
        call: the call.
        use: which parameters the module works with.
        parameters: those of the group: weight, bias or both.
        shapes: of all parameters.
        n: samples.
        layout: where the samples are.

    Returns:
        The term; None if input and output have no place for n samples.
    """
    rule = call.rule
    x = _arranged(call.kept, rule.inputs, n, layout)
    e = _arranged(call.output_gradient, rule.outputs, n, layout)
    if x is None or e is None or x.shape[1] != e.shape[1]:
        return None
    if use.weight in parameters and use.weight is not None:
        both = use.bias in parameters
        return rule.gradient(
            call.module, x, _among(e, use.weight_rows, shapes[use.weight][0]), both
        )
    assert use.bias is not None
    total = e.sum(1) if e.ndim == 3 else e.flatten(3).sum((1, 3))
    return Dense(_among(total, use.bias_rows, shapes[use.bias][0]))


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
