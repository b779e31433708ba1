"""What every projection can do.

Random numbers come from NumPy on the CPU, from the seed and the checkpoint: the same map on every
device, for every chunk of samples, and for every checkpoint another one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from torch import Tensor

from headwater.checks import check_positive

if TYPE_CHECKING:
    from headwater.curvature import TrainingData
    from headwater.gradients import FactoredGradients

__all__ = ["GradientProjection", "LearnedProjection", "Projection"]


@runtime_checkable
class LearnedProjection(Protocol):
    """A projection that is computed from the training data, such as `ArnoldiProjection`."""

    def fit(self, source: TrainingData) -> Tensor:
        """Return the rows of P at one checkpoint, (k, p)."""


@dataclass(frozen=True)
class GradientProjection(ABC):
    """Map gradients from p to k dimensions so that inner products are kept: E⟨Px, Py⟩ = ⟨x, y⟩.

    ``gradients.project(projection)`` applies it to gradients in any representation.
    """

    @abstractmethod
    def for_checkpoint(self, checkpoint: int) -> Self:
        """Return the projection of another checkpoint."""

    @abstractmethod
    def __call__(self, vectors: Tensor) -> Tensor:
        """Return P x for each row x of vectors (n, p), shape (n, k)."""

    @abstractmethod
    def of_factors(self, gradients: FactoredGradients) -> list[Tensor]:
        """Return P∇f_i of factored gradients as blocks of columns, each (n, k_b)."""


@dataclass(frozen=True)
class Projection(GradientProjection):
    """Project vectors, whatever the layers that their coordinates belong to.

    Args:
        dimension: k.
        seed: what the map is drawn from.
        checkpoint: every checkpoint has a map of its own.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """

    dimension: int
    seed: int = 0
    checkpoint: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("the projection's dimension", self.dimension)
        check_positive("the projection's seed", self.seed, allow_zero=True)

    def for_checkpoint(self, checkpoint: int) -> Self:
        """Return the projection of another checkpoint."""
        return replace(self, checkpoint=checkpoint)

    def generator(self, index: int, *branch: int) -> np.random.Generator:
        """Return the generator of tile ``index``; a branch is a stream of its own."""
        # A spawn key keeps branches apart: a longer list of numbers may give the same stream.
        entropy = np.random.SeedSequence([self.seed, self.checkpoint, index], spawn_key=branch)
        return np.random.Generator(np.random.PCG64(entropy))
