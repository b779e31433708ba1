"""Random projections: P (k × p) with E⟨Px, Py⟩ = ⟨x, y⟩, never held in memory."""

from headwater.projections.grass import FactGraSS, GraSS, RandomMask
from headwater.projections.layerwise import Kronecker, LayerwiseProjection
from headwater.projections.projection import GradientProjection, Projection
from headwater.projections.random_matrix import Gaussian, Rademacher, RandomMatrix
from headwater.projections.sparse import SparseJL

__all__ = [
    # the interface
    "GradientProjection",
    "LayerwiseProjection",
    "Projection",
    "RandomMatrix",
    # of vectors
    "GraSS",
    "Gaussian",
    "Rademacher",
    "RandomMask",
    "SparseJL",
    # of the matrix of each layer
    "FactGraSS",
    "Kronecker",
]
