"""The hyper-parameters that all sides are given, so that they do the same work."""

from __future__ import annotations

__all__ = [
    "ARNOLDI_RANK",
    "BATCH",
    "CG_ITERATIONS",
    "DAMPING",
    "FISHER_DAMPING",
    "LISSA_BATCH",
    "LISSA_DEPTH",
    "LISSA_SCALE",
    "NEIGHBOURS",
    "TRAK_DAMPING",
]

BATCH = 500
"""Samples a batch, as in dattri's own experiment script."""
DAMPING = 1.0
"""λ of the Hessian's solvers and of DataInf, absolute. The Hessian has eigenvalues down to -0.2 here:
with this λ the matrix is positive definite, and all solvers go to the same solution."""
FISHER_DAMPING = 1e-4
"""λ of (E)K-FAC and of the Fisher matrix in Gram space, absolute."""
CG_ITERATIONS = 10
LISSA_DEPTH, LISSA_BATCH = 100, 50
"""One of the three choices of dattri's experiment script."""
LISSA_SCALE = 50.0
"""dattri's default. A series that diverged would be an error on our side."""
ARNOLDI_RANK = 50
"""Products with the Hessian, and directions kept at most."""
TRAK_DAMPING = 0.1
"""λ added to the Gram matrix of projected gradients that are divided by √p, as TRAK does it."""
NEIGHBOURS = 5
