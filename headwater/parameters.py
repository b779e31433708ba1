"""The order of a model's parameters in one long vector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of parameters, in the order in which they fill a vector of length p.

    Each parameter is flattened row by row (a Linear weight: index = row · d_in + column).
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor]) -> ParameterLayout:
        """Make the layout of named tensors."""
        return cls(tuple((name, tuple(t.shape)) for name, t in parameters.items()))

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the vector."""
        found, start = {}, 0
        for name, shape in self.shapes:
            found[name] = slice(start, start + math.prod(shape))
            start = found[name].stop
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(name for name, _ in self.shapes)

    @property
    def size(self) -> int:
        """The length p of the vector."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def flatten(self, tensors: Mapping[str, Tensor], batch_dims: int = 0) -> Tensor:
        """Concatenate named tensors, keeping their leading batch dimensions: (..., p)."""
        # The added dimension gives a scalar parameter one entry.
        parts = [tensors[name].unsqueeze(-1).flatten(batch_dims) for name in self.names]
        return torch.cat(parts, dim=-1)

    def unflatten(self, vectors: Tensor) -> dict[str, Tensor]:
        """Split vectors (..., p) into named tensors (..., *shape)."""
        lead = vectors.shape[:-1]
        return {
            name: vectors[..., self.slices[name]].reshape((*lead, *shape))
            for name, shape in self.shapes
        }


def select_parameters(model: nn.Module, layers: Sequence[str] | str | None) -> list[str]:
    """Return the names of the trainable parameters inside some modules; None means all modules.

    The modules are given by names or patterns (``"encoder.*"``). ValueError if one matches nothing.
    """
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(
            "the model must have trainable parameters, got none with requires_grad; call "
            "requires_grad_() on those that were trained"
        )
    if layers is None:
        return trainable
    chosen: set[str] = set()
    for pattern in [layers] if isinstance(layers, str) else layers:
        inside = [name for name in trainable if _is_inside(name, pattern)]
        if not inside:
            known = sorted({name.rpartition(".")[0] or "(the model itself)" for name in trainable})
            raise ValueError(
                f"layers must name modules with trainable parameters, got {pattern!r}; "
                f"the model has {', '.join(known)}"
            )
        chosen.update(inside)
    return [name for name in trainable if name in chosen]


def _is_inside(parameter: str, pattern: str) -> bool:
    parts = parameter.split(".")
    return any(fnmatchcase(".".join(parts[:i]), pattern) for i in range(1, len(parts)))
