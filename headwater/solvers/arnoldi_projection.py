"""Projections that are learned from the training data, in place of random ones."""

import logging
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.curvature.hessian import ExactHessian
from headwater.gradients.source import GradientSource
from headwater.solvers.lanczos import krylov_basis

log = logging.getLogger(__name__)


@runtime_checkable
class LearnedProjection(Protocol):
    """A projection that is computed from the training data at each checkpoint."""

    def fit(self, source: GradientSource) -> Tensor:
        """Return the rows of P, (k, p)."""


@dataclass(frozen=True)
class ArnoldiProjection:
    """Project on the leading directions of the Hessian: P = Λ^(-1/2) Vᵀ at each checkpoint.

    ⟨Px, Py⟩ = xᵀ H⁺ y on these directions, Λ and V being the k largest positive Ritz pairs of the
    Hessian of the mean loss. Cost: `krylov` Hessian products, and k vectors of length p.

    Args:
        dimension: k.
        seed: of the start vector.
        krylov: dimension of the Krylov space that the pairs are taken from; default: 2k.

    Reference:
        Schioppa et al., Scaling Up Influence Functions, AAAI 2022.
        Deng et al., dattri: A Library for Efficient Data Attribution, NeurIPS 2024, appendix E.
    """

    dimension: int
    seed: int = 0
    krylov: int | None = None

    def __post_init__(self) -> None:
        check_positive("the projection's dimension", self.dimension)
        if self.krylov is not None and self.krylov < self.dimension:
            raise ValueError(
                f"krylov must be at least the dimension {self.dimension}, got {self.krylov}; "
                "a Krylov space has no more directions than that"
            )

    def fit(self, source: GradientSource) -> Tensor:
        """Return the rows of P at one checkpoint, (k, p); fewer where H has fewer positive ones.

        ValueError if the Hessian has no positive direction, or the model less than 32 bits.
        """
        dtype = source.model.dtype
        if torch.finfo(dtype).bits < 32:
            raise ValueError(
                "ArnoldiProjection needs products with the Hessian of 32 bits at least, got a model in "
                f"{dtype}, whose rounding the next direction is made of; load the model in float32, or "
                "use a random projection"
            )
        hessian = ExactHessian().operator(source, {})
        rank = self.krylov or 2 * self.dimension
        values, vectors = (t[: self.dimension] for t in krylov_basis(hessian, rank, self.seed))
        if not len(values):
            raise ValueError(
                "the Hessian must have a positive direction, found none; "
                "use a checkpoint nearer to a minimum, or a random projection"
            )
        if len(values) < self.dimension:
            log.warning(
                "the Hessian has %d positive directions in a Krylov space of %d, not the %d asked "
                "for; raise krylov, or lower the dimension",
                len(values),
                rank,
                self.dimension,
            )
        return vectors * values.rsqrt().to(vectors.dtype)[:, None]
