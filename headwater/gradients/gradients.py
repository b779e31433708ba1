"""What every gradient representation can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from headwater.projections import GradientProjection

__all__ = ["Gradients", "concatenate"]


class Gradients(ABC):
    """The gradients ∇f_i (p,) of n samples, and the values f_i they were taken at.

    A representation is lossless unless it is projected. Slicing selects samples.
    """

    values: Tensor
    """f_i, shape (n,)."""

    def __len__(self) -> int:
        """Return the number of samples n."""
        return len(self.values)

    @property
    @abstractmethod
    def dimension(self) -> int:
        """The length p of one gradient (k when projected)."""

    @abstractmethod
    def inner(self, other: Gradients) -> Tensor:
        """Return all inner products ⟨∇f_i, ∇f'_j⟩, shape (n, m)."""

    @abstractmethod
    def squared_norms(self) -> Tensor:
        """Return ‖∇f_i‖², shape (n,)."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return the gradients as vectors, shape (n, p)."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what a store must keep; every tensor has the sample as first dimension."""

    @abstractmethod
    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Gradients:
        """Return gradients of the same scheme made of other tensors (the inverse of `tensors`)."""

    @abstractmethod
    def project(self, projection: GradientProjection) -> Gradients:
        """Return the projected gradients P∇f_i, without ever holding P."""

    def layer_columns(self) -> list[list[slice]]:
        """Return where each layer's parameters lie in a dense gradient; one layer if not known."""
        return [[slice(0, self.dimension)]]

    def by_layer(self) -> list[Gradients]:
        """Return the gradients of each layer on its own, in the order of `layer_columns`."""
        return [self]

    def __getitem__(self, rows: slice | Tensor) -> Gradients:
        """Return the gradients of some of the samples."""
        return self.with_tensors({name: t[rows] for name, t in self.tensors().items()})


def concatenate(blocks: Sequence[Gradients]) -> Gradients:
    """Join blocks of one representation along the samples.

    Raises:
        ValueError: if there is no block.
    """
    if not blocks:
        raise ValueError("concatenate needs at least one block of gradients, got none")
    if len(blocks) == 1:
        return blocks[0]
    parts = [block.tensors() for block in blocks]
    joined = {name: torch.cat(_padded([part[name] for part in parts])) for name in parts[0]}
    return blocks[0].with_tensors(joined)


def _padded(parts: list[Tensor]) -> list[Tensor]:
    """Give factors of different numbers of positions T one length: zero rows add nothing."""
    if parts[0].ndim != 3:
        return parts
    positions = max(part.shape[1] for part in parts)
    pad = torch.nn.functional.pad
    return [pad(part, (0, 0, 0, positions - part.shape[1])) for part in parts]
