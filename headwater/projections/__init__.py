"""Random projections: P (k × p) with E⟨Px, Py⟩ = ⟨x, y⟩, never held in memory."""

from headwater.projections.gaussian import Gaussian
from headwater.projections.projection import Projection
from headwater.projections.rademacher import Rademacher

__all__ = ["Gaussian", "Projection", "Rademacher"]
