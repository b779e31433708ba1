"""The attribution task: a model, its loss, the target to explain, and the checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from headwater.attention import explicit
from headwater.batches import Batch, batch_size, described
from headwater.checkpoints import Checkpoint, load_checkpoint
from headwater.kernels import no_fast_path
from headwater.memory import default_budget, parse_budget
from headwater.parameters import ParameterLayout, select_parameters

SampleFunction = Callable[[Any, Batch], Tensor]
"""``f(model, batch) -> Tensor (batch,)``: one value per sample, the model called as in training."""


class AttributionTask:
    """Say what is attributed: the target of a model to the samples it was trained on.

    The training objective is the mean of the loss over the training samples. The model is copied
    and put into evaluation mode; the given one is left as it is. ValueError if there is no checkpoint,
    a layer name matches nothing, or the budget is no size.

    Args:
        model: the architecture.
        loss: ``loss(model, batch) -> Tensor (batch,)``, one unreduced value per sample.
        target: the scalar explained for each test sample, same signature; defaults to the loss.
        checkpoints: state dicts, paths (safetensors, or files for ``torch.load(weights_only=True)``)
            or callables that return one; defaults to the model's present parameters.
        layers: module names or patterns that restrict the parameters; default: all trainable ones.
        memory_budget: bytes, or a number with a unit such as "8GB", that data, gradients and solutions
            may take; what is more goes to disk or in blocks. Default: a share of what is free.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> def loss(model, batch):
        ...     x, y = batch
        ...     return torch.nn.functional.cross_entropy(model(x), y, reduction="none")
        >>> AttributionTask(model, loss).layout.size
        8
    """

    def __init__(
        self,
        model: nn.Module,
        loss: SampleFunction,
        target: SampleFunction | None = None,
        checkpoints: Sequence[Checkpoint] | Checkpoint | None = None,
        layers: Sequence[str] | str | None = None,
        memory_budget: int | str | None = None,
    ) -> None:
        self.loss, self.target = loss, loss if target is None else target
        names = select_parameters(model, layers)
        self.layout = ParameterLayout.of({name: model.get_parameter(name) for name in names})
        self._caller = _Caller(explicit(copy.deepcopy(model)).eval().requires_grad_(False))
        if checkpoints is None:
            checkpoints = [self._caller.model.state_dict()]
        if isinstance(checkpoints, (str, Mapping)) or not isinstance(checkpoints, Sequence):
            checkpoints = [checkpoints]
        if not checkpoints:
            raise ValueError(
                "checkpoints must name at least one, got none; pass [model.state_dict()]"
            )
        self.checkpoints = list(checkpoints)
        self._budget = None if memory_budget is None else parse_budget(memory_budget)

    @cached_property
    def memory_budget(self) -> int:
        """Bytes that work on this task may take, settled when it is first asked for."""
        return default_budget(self.device) if self._budget is None else self._budget

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self._caller.parameters()).device

    def bind(self, index: int = 0) -> BoundModel:
        """Load one checkpoint and return the model as a function of its selected parameters."""
        model = self._caller.model
        rest = dict([*model.named_parameters(), *model.named_buffers()])
        chosen = {name: rest.pop(name) for name in self.layout.names}
        return BoundModel(self._caller, chosen, rest, self.layout).at(self.checkpoints[index])


class _Caller(nn.Module):
    """Calls f(model, batch) as a module, so that functional_call reaches the model inside f."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: SampleFunction, batch: Batch) -> Tensor:
        try:
            return function(self.model, batch)
        except Exception as error:
            name = getattr(function, "__name__", type(function).__name__)
            dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
            error.add_note(
                f"Raised by {name}(model, batch), the loss or target of the task, on a batch that is a "
                f"{described(batch)}, with a model in {dtype}; the loader's batches must suit it."
            )
            raise


@dataclass(frozen=True)
class BoundModel:
    """The model at one checkpoint, a function of the selected parameters; `rest` is all others."""

    caller: _Caller
    parameters: dict[str, Tensor]
    rest: dict[str, Tensor]
    layout: ParameterLayout

    def __repr__(self) -> str:
        name, size = type(self.module).__name__, self.layout.size
        return f"BoundModel of {name}: {size:,} selected parameters, on {self.device}"

    @property
    def module(self) -> nn.Module:
        """The model that forward hooks are put on."""
        return self.caller.model

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """That of the parameters, the widest if they differ."""
        return reduce(torch.promote_types, (t.dtype for t in self.parameters.values()))

    def at(self, checkpoint: Checkpoint) -> BoundModel:
        """Return the same model, with the same parameters selected, at another checkpoint."""
        state = load_checkpoint(checkpoint, self.module)

        def pick(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            # Tied parameters have several keys in a state dict; the first name stands for all of them.
            # Buffers that no checkpoint holds stay as they are.
            return {name: state.get(name, t).to(self.device) for name, t in tensors.items()}

        return replace(self, parameters=pick(self.parameters), rest=pick(self.rest))

    def leaves(self, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return parameters that gradients can be taken for; default: all selected ones."""
        chosen = self.layout.names if names is None else names
        return {name: self.parameters[name].detach().requires_grad_() for name in chosen}

    def gradient(
        self, function: SampleFunction, batch: Batch, names: Sequence[str] | None = None
    ) -> Tensor:
        """Return Σ_i ∇f_i over the samples of a batch, parameters in the order of names, (q,)."""
        leaves = self.leaves(names)
        with torch.enable_grad():
            total = self.values(function, batch, {**self.parameters, **leaves}).sum()
        if total.requires_grad:
            found = torch.autograd.grad(total, [*leaves.values()], materialize_grads=True)
        else:
            found = tuple(map(torch.zeros_like, leaves.values()))
        dense = [g.to_dense() for g in found]  # an embedding may have a sparse one
        return ParameterLayout.of(leaves).flatten(dict(zip(leaves, dense, strict=True)))

    def values(
        self, function: SampleFunction, batch: Batch, parameters: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return f for each sample of a batch, (batch,), real; ValueError if f returns anything else."""
        chosen = self.parameters if parameters is None else parameters
        state = {f"model.{name}": t for name, t in {**self.rest, **chosen}.items()}
        with no_fast_path():  # it calls no module, so that no hook would see a layer
            values = functional_call(self.caller, state, (function, batch))
        if not isinstance(values, Tensor) or tuple(values.shape) != (batch_size(batch),):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"loss and target must return one value per sample, shape ({batch_size(batch)},), "
                f"got {got}; use reduction='none' and average over everything but the samples"
            )
        if not values.is_floating_point():
            raise ValueError(
                f"loss and target must return floating point numbers, got {values.dtype}; "
                "return something that can be differentiated"
            )
        return values
