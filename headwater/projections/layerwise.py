"""Projections that work on the matrix of each layer, without forming a gradient."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import Gradients, Matrix, Scheme, Term
from headwater.hashing import stream_key
from headwater.projections.projection import GradientProjection, Projection, fitted
from headwater.projections.random_matrix import Rademacher, RandomMatrix


@dataclass(frozen=True, kw_only=True)
class LayerwiseProjection(GradientProjection):
    """A projection for every layer, drawn from its name: results stand side by side, layer by layer.

    A layer is a weight matrix with its bias: of Linear layers, convolutions and embeddings. All
    parameters without a matrix (norms, scalars, biases of their own) are one more block, the last,
    projected as a whole. A layer that is small already is kept as it is, which is exact. All maps are
    drawn from `seed`, and every `checkpoint` has maps of its own.
    """

    seed: int = 0
    checkpoint: int = 0

    @abstractmethod
    def of_layer(self, name: str, term: Term, matrix: Matrix) -> Tensor:
        """Return P_l ∇f_i over one layer, (n, k_l), from the name of its first parameter and its term."""

    @abstractmethod
    def of_rest(self) -> Projection:
        """Return the projection of the parameters without a matrix."""

    def seed_of(self, name: str, part: str) -> int:
        """Return the seed of one part of one layer; it does not depend on the other layers."""
        return stream_key("layer", self.seed, name, part)

    def __call__(self, x: Tensor) -> Tensor:
        """Refuse vectors, which do not say what their layers are, with a ValueError."""
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
            whole = Gradients(scheme, rest, gradients.values)
            projection = fitted(self.of_rest(), whole.dimension)
            blocks.append(projection.images(whole) if projection else whole.dense())
        widths = [int(block.shape[1]) for block in blocks]
        return Gradients.of_vectors(torch.cat(blocks, 1), gradients.values, widths)


def two_sided(term: Term, matrix: Matrix, inputs: Projection, outputs: Projection) -> Tensor:
    """Return P_out G_i P_inᵀ row by row, (n, k_out · k_in); a short side is kept as it is."""
    image = term.two_sided(fitted(inputs, matrix.columns), fitted(outputs, matrix.d_out))
    assert image.matrix is not None
    return image.matrix.matrices(image.formed().dense()).flatten(1)


@dataclass(frozen=True)
class Kronecker(LayerwiseProjection):
    """LoGra's: project inputs and output gradients of each layer on their own, P_l = P_out ⊗ P_in.

    P_l ∇f_i = Σ_t (P_out e_it)(P_in [a_it; 1])ᵀ, without the 1 where there is no bias; the two
    matrices of a layer, and those of all layers, are independent. A side that is no longer than its
    dimension is kept as it is. The rest of the parameters is one dense block of at most
    k_in · k_out dimensions. Cost: n T (d_in k_in + d_out k_out + k_in k_out) per layer.

    Args:
        dimension_in, dimension_out: k_in and k_out.
        kind: Rademacher or Gaussian entries.

    Reference:
        Choe et al., What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence
        Functions, 2024.
    """

    dimension_in: int
    dimension_out: int
    kind: type[RandomMatrix] = Rademacher

    def __post_init__(self) -> None:
        check_positive("the projection's dimension_in", self.dimension_in)
        check_positive("the projection's dimension_out", self.dimension_out)
        check_positive("the projection's seed", self.seed, allow_zero=True)

    def sides(self, name: str) -> tuple[RandomMatrix, RandomMatrix]:
        """Return P_in and P_out of a layer."""
        return (
            self.kind(self.dimension_in, self.seed_of(name, "in"), self.checkpoint),
            self.kind(self.dimension_out, self.seed_of(name, "out"), self.checkpoint),
        )

    def of_layer(self, name: str, term: Term, matrix: Matrix) -> Tensor:
        """Return Σ_t (P_out e_it)(P_in [a_it; 1])ᵀ row by row, (n, k_out · k_in)."""
        return two_sided(term, matrix, *self.sides(name))

    def of_rest(self) -> Projection:
        """Return the projection of the parameters without a matrix."""
        dimension = self.dimension_in * self.dimension_out
        return self.kind(dimension, self.seed_of("", "rest"), self.checkpoint)
