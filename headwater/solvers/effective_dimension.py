"""How many directions of a curvature rise above the damping, and what a projection needs of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headwater.curvature import LinearOperator
from headwater.solvers.damping import Damping, absolute
from headwater.solvers.solver import Solver, State

__all__ = ["effective_dimension", "measured_dimension", "sufficient_dimension"]

RULE = 15
"""Dimensions of a projection for each effective one; 10 to 20 keep the scores."""
STEP = 64
"""Dimensions come in multiples of it."""


def effective_dimension(eigenvalues: Tensor, damping: float) -> float:
    """Return d_λ = tr C (C + λI)^-1 = Σ μ/(μ + λ), from the eigenvalues μ of C.

    Reference:
        Hu et al., A Unified Theory of Random Projection for Influence Functions, 2026.
    """
    positive = eigenvalues[eigenvalues > 0].double()
    return float((positive / (positive + damping)).sum())


def sufficient_dimension(eigenvalues: Tensor, damping: Damping) -> int:
    """Return the dimension k of a projection that keeps d_λ: 15 d_λ, rounded up to a multiple of 64.

    A relative damping is a multiple of tr(C)/k in the projected space: k is then the least that is
    enough for the damping that it brings with it.

    Example:
        >>> sufficient_dimension(torch.ones(10), damping=1.0)
        128
    """
    k, trace = STEP, float(eigenvalues.double().sum())
    while True:  # k only rises, and no further than to RULE · len(eigenvalues)
        dimension = effective_dimension(eigenvalues, absolute(damping, trace / k))
        enough = STEP * math.ceil(RULE * dimension / STEP)
        if enough <= k:
            return k
        k = enough


def measured_dimension(
    solver: Solver, operator: LinearOperator, state: State, probes: int = 8
) -> float:
    """Return d_λ = p - λ tr (C + λI)^-1, the trace seen by the solver at a few vectors of signs.

    Its standard deviation is at most √(2p/probes); the vectors are the same every time.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(2, (probes, operator.size), generator=generator)
    signs = (2 * drawn - 1).to(operator.device, operator.dtype)
    products = (signs * solver.inverse(operator, state)(signs)).sum(1, dtype=torch.float64)
    return operator.size - solver.shift * float(products.mean())
