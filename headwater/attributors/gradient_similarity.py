"""Grad-Dot and Grad-Cos: the plain similarity of gradients."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor, Rows, negative_products
from headwater.attributors.source import GradientSource
from headwater.gradients import Gradients
from headwater.solvers import State

__all__ = ["GradCos", "GradDot"]


class GradDot(Attributor):
    """Score by the inner product of gradients, exactly: P = I.

    scores[i, j] = -⟨∇f_j, ∇ℓ_i⟩, the change of f_j under one gradient step of size 1 on sample i.
    Self-influence: ‖∇ℓ_i‖². Cost: one pass over the data and one Gram product of the factors.

    Reference:
        Charpiat et al., Input Similarity from the Neural Network Perspective, NeurIPS 2019.
    """

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield -⟨∇f_j, ∇ℓ_i⟩."""
        return negative_products(source)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return ‖∇ℓ_i‖²."""
        return torch.cat([block.squared_norms() for block in source.train_blocks()])


class GradCos(Attributor):
    """Score by the cosine of the angle between gradients: P = I, both sides of unit length.

    scores[i, j] = -⟨∇f_j, ∇ℓ_i⟩ / (‖∇f_j‖ ‖∇ℓ_i‖), 0 where a gradient is zero. Self-influence: 1.

    Reference:
        Charpiat et al., Input Similarity from the Neural Network Perspective, NeurIPS 2019.
    """

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield minus the cosines."""
        test = source.test()
        columns = _inverse_norms(test)
        for (rows, products), block in zip(
            negative_products(source), source.train_blocks(), strict=True
        ):
            yield rows, products * _inverse_norms(block)[:, None] * columns

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return 1, the cosine of a gradient with itself (0 for a zero gradient)."""
        parts = [(block.squared_norms() > 0) for block in source.train_blocks()]
        return torch.cat(parts).to(torch.float64)


def _inverse_norms(gradients: Gradients) -> Tensor:
    norms = gradients.squared_norms().sqrt()
    return torch.where(norms > 0, 1.0 / norms, torch.zeros_like(norms))
