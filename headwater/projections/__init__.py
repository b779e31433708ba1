"""Random projections: P (k × p) with E⟨Px, Py⟩ = ⟨x, y⟩, never held in memory."""

from headwater.projections.fact_grass import FactGraSS
from headwater.projections.gaussian import Gaussian
from headwater.projections.grass import GraSS
from headwater.projections.layerwise import LayerwiseProjection
from headwater.projections.mask import RandomMask
from headwater.projections.projection import GradientProjection, Projection
from headwater.projections.rademacher import Rademacher
from headwater.projections.sparse import SparseJL
from headwater.projections.tiles import RandomMatrix
from headwater.projections.two_sided import Kronecker

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
