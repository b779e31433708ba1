"""Random projections: P (k × p) with E⟨Px, Py⟩ = ⟨x, y⟩, never held in memory.

`ArnoldiProjection` is learned from a curvature instead, and is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from headwater.projections.fact_grass import FactGraSS
from headwater.projections.gaussian import Gaussian
from headwater.projections.grass import GraSS
from headwater.projections.kronecker import Kronecker
from headwater.projections.layerwise import LayerwiseProjection
from headwater.projections.mask import RandomMask
from headwater.projections.projection import GradientProjection, LearnedProjection, Projection
from headwater.projections.rademacher import Rademacher
from headwater.projections.sparse import SparseJL
from headwater.projections.tiles import RandomMatrix

__all__ = [
    # the interface
    "GradientProjection",
    "LayerwiseProjection",
    "LearnedProjection",
    "Projection",
    "RandomMatrix",
    # of vectors
    "GraSS",
    "Gaussian",
    "Rademacher",
    "RandomMask",
    "SparseJL",
    # of the factors of each layer
    "FactGraSS",
    "Kronecker",
    # learned from a curvature
    "ArnoldiProjection",
]


def __getattr__(name: str) -> Any:
    # It builds on the solvers, which build on gradients, which build on this package.
    if name == "ArnoldiProjection":
        return importlib.import_module("headwater.solvers.arnoldi_projection").ArnoldiProjection
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
