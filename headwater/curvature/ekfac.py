"""EK-FAC: K-FAC's eigenvectors, with the true second moments along them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.curvature.kfac import KFAC
from headwater.curvature.kronecker_operator import KroneckerOperator
from headwater.gradients import Gradients
from headwater.gradients.source import GradientSource

__all__ = ["EKFAC", "corrected"]


@dataclass(frozen=True)
class EKFAC(KFAC):
    """K-FAC's eigenvectors with the true second moments along them: Λ = (1/n) Σ_i (Q_Sᵀ ∇_i Q_A)².

    Of all matrices with these eigenvectors it is the one nearest to the Fisher matrix of the layer
    in the Frobenius norm, and so never further from it than K-FAC. With one sample called on one
    position, and wherever the errors do not depend on the sample, it is that Fisher matrix.

    Args:
        labels: "sampled", for batches (inputs, labels) with a cross-entropy loss, or "empirical",
            for any loss.
        draws: labels drawn per sample.
        seed: of the draws; the label of sample i does not depend on the batches.
        sharing: what positions of one sample are in the factors whose eigenvectors are taken.

    Raises:
        ValueError: if an argument is out of range, or sampled labels do not fit the loss.

    Reference:
        George et al., Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis,
        NeurIPS 2018. Grosse et al., Studying Large Language Model Generalization with Influence
        Functions, 2023.

    Example:
        >>> EKFAC(draws=2)
        EKFAC(labels='sampled', draws=2, seed=0, sharing='expand')
    """

    def estimate(self, source: GradientSource) -> Mapping[str, Tensor]:
        """Return bases and eigenvalues of all weights, and the diagonals of all other groups."""
        operator = self.operator(source, super().estimate(source))
        return corrected(operator, self.gradients(source)).tensors()


def corrected(operator: KroneckerOperator, blocks: Iterable[Gradients]) -> KroneckerOperator:
    """Return the operator with the same eigenvectors and Λ = (1/n) Σ_i (Q_Sᵀ ∇_i Q_A)²."""
    known = operator.blocks
    sums = [torch.zeros_like(block.eigenvalues, dtype=torch.float64) for block in known]
    n = 0
    for gradients in blocks:
        for total, block, term in zip(sums, known, gradients.terms, strict=True):
            total.add_(block.rotate(term).sum_of_squares().view_as(total))
        n += len(gradients)
    made = [
        replace(block, eigenvalues=(total / n).to(operator.dtype))
        for block, total in zip(known, sums, strict=True)
    ]
    return KroneckerOperator(operator.scheme, tuple(made))
