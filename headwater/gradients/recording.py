"""The calls of layers during one pass over a batch, and the gradients that follow from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.batches import Batch, batch_size
from headwater.gradients.forms import added
from headwater.gradients.layers import Use
from headwater.gradients.rules import Rule, per_channel
from headwater.gradients.term import Dense, Term
from headwater.task import BoundModel, SampleFunction


@dataclass(frozen=True)
class Call:
    """One call of a layer: what its rule keeps of the input, and ∂f/∂ its output."""

    module: nn.Module
    rule: Rule
    kept: Tensor
    output_gradient: Tensor
    dtype: torch.dtype
    constant: bool  # no recorded layer comes before it: its input depends on no parameter

    def sides(self, n: int, axis: int) -> tuple[Tensor, Tensor] | None:
        """Return input and output gradient as (n, P, ...); None: they have no place for n samples."""
        x = _arranged(self.kept, self.rule.inputs, n, axis)
        e = _arranged(self.output_gradient, self.rule.outputs, n, axis)
        return None if x is None or e is None or x.shape[1] != e.shape[1] else (x, e)


@dataclass(frozen=True)
class Recording:
    """One pass over n samples: the calls of each layer (None: its rule does not know it), and f_i.

    Layers may have the samples in either of two axes: 0, (n, ...) or (n · T, ...) with the positions
    of one sample side by side; or 1, (T, n, ...) or (T · n, ...).
    """

    model: BoundModel
    calls: dict[str, list[Call | None]]
    values: Tensor
    factors: bool  # else what is smaller formed may be formed at once

    def axes(self, layer: str) -> list[int]:
        """Return where all inputs and outputs of a layer have room for the samples."""
        n, known = len(self.values), [call for call in self.calls[layer] if call is not None]
        if None in self.calls[layer]:
            return []
        fitting = [axis for axis in (0, 1) if all(call.sides(n, axis) for call in known)]
        found = [call.sides(n, 0) for call in known]
        # Where each sample has one position, both axes are the same: then it is the first.
        return fitting[:1] if {sides[1].shape[1] for sides in found if sides} == {1} else fitting

    def term(
        self, parameters: Sequence[str], uses: Sequence[Use], axes: Mapping[str, int]
    ) -> Term | None:
        """Return the sum over calls of a group's layers; None if one has no place for samples."""
        n, model = len(self.values), self.model
        total: Term | None = None
        for use in uses:
            for call in self.calls.get(use.module, ()):
                axis = axes.get(use.module)
                if call is None or axis is None or (sides := call.sides(n, axis)) is None:
                    return None
                term = self._of_call(call, use, parameters, *sides)
                total = term if total is None else added(total, term)
        if total is not None:
            return total
        width = sum(model.parameters[name].numel() for name in parameters)
        return Dense(torch.zeros(n, width, dtype=model.dtype, device=model.device))

    def _of_call(
        self, call: Call, use: Use, parameters: Sequence[str], x: Tensor, e: Tensor
    ) -> Term:
        if use.weight in parameters and use.weight is not None:
            e = _among(e, use.weight_rows, len(self.model.parameters[use.weight]))
            given = call.module, x, e, use.bias in parameters
            formed = None if self.factors or call.rule.formed is None else call.rule.formed(*given)
            return formed or call.rule.gradient(*given)
        assert use.bias is not None
        return Dense(_among(per_channel(e), use.bias_rows, len(self.model.parameters[use.bias])))

    def sizes(self) -> dict[str, float]:
        """Return how many numbers of each sample the outputs of each layer had."""
        n = max(1, len(self.values))
        return {
            name: sum(call.output_gradient.numel() / n for call in made if call is not None)
            for name, made in self.calls.items()
        }


def record(
    model: BoundModel,
    function: SampleFunction,
    batch: Batch,
    rules: Mapping[str, Rule],
    spread: Collection[str] = (),
    factors: bool = True,
) -> Recording:
    """Run f once forward and once backward, and record the calls of layers that have rules, by name.

    Inputs and output gradients have the dtype of the parameters, also under `torch.autocast`. What
    layers to spread return, called once for all samples, is given to each as a copy of its own.
    """
    n = batch_size(batch)
    seen: list[tuple[str, nn.Module, Tensor, Tensor, bool]] = []
    calls: dict[str, list[Call | None]] = defaultdict(list)

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
    return Recording(model, dict(calls), values.detach(), factors)


def _spread(t: Tensor, n: int) -> Tensor:
    single = t if t.shape[0] == 1 else t[None]
    return single.expand(n, *single.shape[1:])


def _arranged(t: Tensor, features: int, n: int, axis: int) -> Tensor | None:
    """Return a tensor as (n, P, ...) with its last `features` dimensions as they are."""
    lead = t.ndim - features if features >= 0 else 1
    count = t.shape[:lead].numel()
    if lead < 1 or (count % n if n else count):
        return None
    positions, rest = count // max(1, n), t.shape[lead:]
    if axis == 0:
        return t.reshape(n, positions, *rest)
    if lead == 1:
        return t.reshape(positions, n, *rest).transpose(0, 1)
    return t.transpose(0, 1).reshape(n, positions, *rest) if t.shape[1] == n else None


def _among(e: Tensor, rows: tuple[int, int] | None, size: int) -> Tensor:
    """Return output gradients of some rows among those of all: the others are zero."""
    return e if rows is None or rows == (0, size) else F.pad(e, (rows[0], size - rows[1]))
