"""One model of the table, what it is called with, and how its gradients have to be kept."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from headwater import AttributionTask
from headwater.gradients import GradientCapture, Gradients
from tests import reference

__all__ = ["Case", "Row", "normal", "tokens", "value"]

Draw = Callable[[int, torch.Generator], Tensor]


def normal(*shape: int) -> Draw:
    """Numbers from a normal distribution."""
    return lambda n, g: torch.randn(n, *shape, generator=g, dtype=torch.float64)


def tokens(count: int, *shape: int) -> Draw:
    """Whole numbers below a count."""
    return lambda n, g: torch.randint(count, (n, *shape), generator=g)


def value(model: Any, batch: tuple[Tensor, ...]) -> Tensor:
    """A number per sample whose gradient is different at every output."""
    return model(*batch).sin().flatten(1).sum(1)


@dataclass(frozen=True)
class Row:
    """A model of the table.

    Args:
        model: makes it.
        inputs: draw what it is called with.
        terms: by the first parameter of each group, the kind of term its factors are kept as.
        without: the parameters that no rule serves.
        empty: whether the model can be called with no samples.
    """

    model: Callable[[], nn.Module]
    inputs: tuple[Draw, ...]
    terms: Mapping[str, str]
    without: tuple[str, ...] = ()
    empty: bool = True

    def case(self, device: torch.device, dtype: torch.dtype, n: int = 4) -> Case:
        """Return the model and n samples on a device."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what models of others say of themselves
            model = self.model().double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:  # norms start at one and zero, adapters at zero
                    parameter.add_(0.3 * torch.randn_like(parameter))
        for buffer in model.buffers():
            if buffer.is_floating_point() and buffer.ndim == 1:
                buffer.uniform_(0.5, 1.5)
        generator = torch.Generator().manual_seed(1)
        batch = tuple(draw(n, generator) for draw in self.inputs)
        batch = tuple((t.to(dtype) if t.is_floating_point() else t).to(device) for t in batch)
        return Case(self, model.to(device=device, dtype=dtype), batch)


@dataclass(frozen=True)
class Case:
    """A model with a batch, and all that is computed of them once."""

    row: Row
    model: nn.Module
    batch: tuple[Tensor, ...]

    def capture(self, keep_factors: bool) -> GradientCapture:
        """Return a capture that has not seen a batch."""
        task = AttributionTask(self.model, value)
        return GradientCapture(task.bind(), value, keep_factors=keep_factors)

    @cached_property
    def captures(self) -> dict[bool, GradientCapture]:
        """One capture that keeps factors, and one that forms what is smaller so."""
        return {keep_factors: self.capture(keep_factors) for keep_factors in (True, False)}

    @cached_property
    def factors(self) -> Gradients:
        """The gradients as inputs and output gradients."""
        return self.captures[True](self.batch)

    @cached_property
    def small(self) -> Gradients:
        """The gradients in the smaller forms."""
        return self.captures[False](self.batch)

    @cached_property
    def exact(self) -> Tensor:
        """The gradients by a loop of autograd in float64, (n, p)."""
        wide = tuple(t.double() if t.is_floating_point() else t for t in self.batch)
        return reference.per_sample_gradients(copy.deepcopy(self.model).double(), value, wide)
