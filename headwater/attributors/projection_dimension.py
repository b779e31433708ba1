"""The dimension of a projection: chosen by the effective dimension of C, or held against it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import torch

from headwater.batches import Batch, batch_size, select
from headwater.curvature import Curvature, LinearOperator
from headwater.curvature.row_operator import rows_of
from headwater.gradients.source import CapturedSource
from headwater.projections import Projection
from headwater.solvers import Solver, State
from headwater.solvers.damping import Damping
from headwater.solvers.effective_dimension import measured_dimension, sufficient_dimension
from headwater.task import AttributionTask

__all__ = ["sized", "warn_if_small"]

log = logging.getLogger(__name__)
P = TypeVar("P")
SAMPLES = 512
"""Training samples that a dimension is chosen with."""


def sized(
    projection: P,
    task: AttributionTask,
    curvature: Curvature,
    damping: Damping,
    batches: Iterable[Batch],
) -> P:
    """Return a projection with its dimension as a number: that it needs, where it is "auto".

    Args:
        projection: any, or None.
        task: model, loss, target and checkpoints; the first one is looked at.
        curvature: made of the gradients that are projected.
        damping: λ.
        batches: the training data, whose first samples are looked at.
    """
    if not isinstance(projection, Projection) or projection.dimension != "auto":
        return projection
    source = CapturedSource(task, 0, _first(batches, SAMPLES), curvature.function(task))
    rows = rows_of(curvature.operator(source, {}), "a projection of dimension 'auto'")
    enough = sufficient_dimension(torch.linalg.eigvalsh(rows.gram() / rows.n), damping)
    k = min(enough, task.layout.size)
    log.info("the projection gets %d dimensions, as %d samples need", k, rows.n)
    return replace(projection, dimension=k)


def warn_if_small(solver: Solver, operator: LinearOperator, state: State) -> None:
    """Warn where C + λI tells more than half of the dimensions of a projected space from λI alone."""
    if solver.shift == 0:
        return  # nothing is told from it, whatever the dimension
    found = measured_dimension(solver, operator, state)
    log.info("effective dimension %.0f of %d projected ones", found, operator.size)
    if operator.size < 2 * found:
        log.warning(
            "a projection should have more than twice as many dimensions as the curvature in it, got "
            "%d for %.0f at damping %.3g; project to more, or raise the damping",
            operator.size,
            found,
            solver.shift,
        )


def _first(batches: Iterable[Batch], count: int) -> list[Batch]:
    """Return as many samples, or all there are."""
    found: list[Batch] = []
    for batch in batches:
        found.append(select(batch, slice(0, count)))
        count -= batch_size(found[-1])
        if count <= 0:
            break
    return found
