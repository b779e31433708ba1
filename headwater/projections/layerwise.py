"""Projections that work on the matrix of each layer, without forming a gradient."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from headwater.gradients import Gradients, LinearMap, Matrix, Scheme, Term
from headwater.hashing import stream_key
from headwater.projections.projection import GradientProjection, Projection, fitted

__all__ = ["LayerwiseProjection", "two_sided"]


@dataclass(frozen=True)
class LayerwiseProjection(GradientProjection):
    """A projection for every layer, drawn from its name: results stand side by side, layer by layer.

    A layer is a weight matrix with its bias: of Linear layers, convolutions and embeddings. All
    parameters without a matrix (norms, scalars, biases of their own) are one more block, the last,
    projected as a whole. A layer that is small already is kept as it is, which is exact.

    Args:
        seed: what all maps are drawn from.
        checkpoint: every checkpoint has maps of its own.
    """

    seed: int = field(default=0, kw_only=True)
    checkpoint: int = field(default=0, kw_only=True)

    @abstractmethod
    def of_layer(self, name: str, term: Term, matrix: Matrix) -> Tensor:
        """Return P_l ∇f_i over one layer, (n, k_l).

        Args:
            name: of its first parameter.
            term: the gradients of its weight (and bias).
            matrix: their shape.
        """

    @abstractmethod
    def of_rest(self) -> Projection:
        """Return the projection of the parameters without a matrix."""

    def for_checkpoint(self, checkpoint: int) -> Self:
        """Return the projection of another checkpoint."""
        return replace(self, checkpoint=checkpoint)

    def seed_of(self, name: str, part: str) -> int:
        """Return the seed of one part of one layer; it does not depend on the other layers."""
        return stream_key("layer", self.seed, name, part)

    def __call__(self, x: Tensor) -> Tensor:
        """Refuse vectors, which do not say what their layers are.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{type(self).__name__} needs the gradients of each layer, got vectors of length "
            f"{x.shape[-1]}; project gradients as they are captured, or use GraSS or Rademacher"
        )

    def of(self, gradients: Gradients) -> Gradients:
        """Return P_l ∇f_i of each layer, then of the rest if there is any: a block of columns each."""
        blocks, rest = [], []
        for name, term in zip(gradients.scheme.names, gradients.terms, strict=True):
            if term.matrix is None:
                rest.append(term)
            else:
                blocks.append(self.of_layer(name, term, term.matrix))
        if rest:
            scheme = Scheme.of_widths([term.width for term in rest])
            blocks.append(self._projected_rest(Gradients(scheme, rest, gradients.values)))
        widths = [int(block.shape[1]) for block in blocks]
        return Gradients.of_vectors(torch.cat(blocks, 1), gradients.values, widths)

    def _projected_rest(self, rest: Gradients) -> Tensor:
        projection = fitted(self.of_rest(), rest.dimension)
        return rest.dense() if projection is None else projection.images(rest)


def two_sided(term: Term, inputs: LinearMap | None, outputs: LinearMap | None) -> Tensor:
    """Return P_out G_i P_inᵀ row by row, (n, k_out · k_in); None: the identity."""
    image = term.two_sided(inputs, outputs)
    assert image.matrix is not None
    return image.matrix.matrices(image.formed().dense()).flatten(1)
