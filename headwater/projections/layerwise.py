"""Projections that work on the factors of each Linear layer, without forming a gradient."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from headwater.projections.projection import GradientProjection, Projection

if TYPE_CHECKING:
    from headwater.gradients import FactoredGradients, LinearFactors

__all__ = ["IN", "OUT", "WHOLE", "LayerwiseProjection", "fitted", "with_bias"]

# The sides of a layer, numbers that are no byte of its name.
WHOLE, IN, OUT = 256, 257, 258


@dataclass(frozen=True)
class LayerwiseProjection(GradientProjection):
    """A projection for every layer, drawn from its name: results stand side by side, layer by layer.

    What is not inside a factored Linear layer (convolutions, norms, embeddings) is one more block,
    the last, projected as a whole. A layer that is small already is kept as it is, which is exact.

    Args:
        seed: what all maps are drawn from.
        checkpoint: every checkpoint has maps of its own.
    """

    seed: int = field(default=0, kw_only=True)
    checkpoint: int = field(default=0, kw_only=True)

    @abstractmethod
    def of_layer(self, name: str, factors: LinearFactors) -> Tensor:
        """Return P_l ∇f_i over one layer, (n, k_l)."""

    @abstractmethod
    def of_rest(self) -> Projection:
        """Return the projection of the parameters outside factored layers."""

    def for_checkpoint(self, checkpoint: int) -> Self:
        """Return the projection of another checkpoint."""
        return replace(self, checkpoint=checkpoint)

    def seed_of(self, name: str, side: int) -> int:
        """Return the seed of one side of one layer; it does not depend on the other layers."""
        entropy = np.random.SeedSequence(self.seed, spawn_key=(*name.encode(), side))
        return int(entropy.generate_state(1, np.uint64)[0])

    def __call__(self, vectors: Tensor) -> Tensor:
        """Refuse vectors, which do not say what their layers are.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{type(self).__name__} needs the factors of each layer, got vectors of length "
            f"{vectors.shape[1]}; project gradients as they are captured, or use GraSS or Rademacher"
        )

    def of_factors(self, gradients: FactoredGradients) -> list[Tensor]:
        """Return P_l ∇f_i of each factored layer, then of the rest if there is any."""
        pairs = zip(gradients.scheme.layers, gradients.layers, strict=True)
        blocks = [self.of_layer(layer.name, factors) for layer, factors in pairs]
        if gradients.rest.shape[1]:
            blocks.append(fitted(self.of_rest(), gradients.rest))
        return blocks


def fitted(projection: Projection, vectors: Tensor) -> Tensor:
    """Project the last dimension, or keep it where it is no longer than the projection's."""
    if vectors.shape[-1] <= projection.dimension:
        return vectors
    lead = vectors.shape[:-1]
    return projection(vectors.flatten(0, -2)).unflatten(0, lead)


def with_bias(factors: LinearFactors) -> Tensor:
    """Return the inputs with the bias's constant 1 as the last one, (n, T, d_in + 1)."""
    a = factors.inputs
    return torch.cat([a, a.new_ones(*a.shape[:-1], 1)], -1) if factors.bias else a
