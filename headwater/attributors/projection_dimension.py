"""The dimension of a projection: chosen by the effective dimension of C, or held against it."""

import logging
import math
from dataclasses import replace
from threading import Event
from typing import TypeVar

import torch
from torch import Tensor

from headwater.batches import batch_size, select
from headwater.curvature import Curvature, LinearOperator, RowOperator
from headwater.curvature.operator import of_kind
from headwater.gradients.source import CapturedSource
from headwater.loader import LoadedData
from headwater.projections import Projection
from headwater.solvers import Solver, State
from headwater.solvers.damping import Damping, absolute
from headwater.task import AttributionTask

log = logging.getLogger(__name__)
P = TypeVar("P")
SAMPLES = 512
"""Training samples that a dimension is chosen with."""
RULE = 15
"""Dimensions of a projection for each effective one; 10 to 20 keep the scores."""
STEP = 64
"""Dimensions come in multiples of it."""
WARNED = Event()
"""Set once this process has warned of a projection that is too small."""


def sized(
    projection: P, task: AttributionTask, curvature: Curvature, damping: Damping, data: LoadedData
) -> P:
    """Return a projection with its dimension as a number: that it needs, where it is "auto".

    It needs that of the gradients of the curvature's function at the first samples and the first
    checkpoint, at this damping. Anything but a projection with a dimension is returned as it is.
    """
    if not isinstance(projection, Projection) or projection.dimension != "auto":
        return projection
    batches = [data.first, *data.head(SAMPLES)[1:]]
    surplus = max(0, sum(map(batch_size, batches)) - SAMPLES)
    batches[-1] = select(batches[-1], slice(0, batch_size(batches[-1]) - surplus))
    source = CapturedSource(task, 0, batches, curvature.function(task))
    operator = curvature.operator(source, {})
    rows = of_kind(operator, RowOperator, "a projection of dimension 'auto'")
    enough = sufficient_dimension(torch.linalg.eigvalsh(rows.gram() / rows.n), damping)
    k = min(enough, task.layout.size)
    log.info("the projection gets %d dimensions, as %d samples need", k, rows.n)
    return replace(projection, dimension=k)


def warn_if_small(solver: Solver, operator: LinearOperator, state: State) -> None:
    """Warn, once per process, where C + λI is not λI in more than half of a projected space."""
    if solver.shift == 0:
        return  # nothing is told from it, whatever the dimension
    found = measured_dimension(solver, operator, state)
    log.info("effective dimension %.0f of %d projected ones", found, operator.size)
    if operator.size < 2 * found and not WARNED.is_set():
        WARNED.set()
        log.warning(
            "a projection should have more than twice as many dimensions as the curvature in it, got "
            "%d for %.0f at damping %.3g; project to more, or raise the damping",
            operator.size,
            found,
            solver.shift,
        )


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
