"""Rows of the influence function with K-FAC, EK-FAC and the whole Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from torch import Tensor, nn

from headwater import AttributionTask
from headwater.attributors import InfluenceFunction
from headwater.curvature import EKFAC, KFAC, ClassGaussNewton, Curvature, GaussNewton
from headwater.solvers import Eigenbasis, Explicit, Solver, Woodbury
from tests import reference_curvature as twins
from tests.laws.row import Row, cg, damped, influence
from tests.problems import Problem


def _matrix(problem: Problem, model: nn.Module, curvature: Curvature) -> Tensor:
    if not isinstance(curvature, KFAC):
        return twins.gauss_newton(model, problem.loss, problem.train)
    block = twins.ekfac_block if isinstance(curvature, EKFAC) else twins.kfac_block
    batch = problem.train
    if curvature.labels == "sampled":
        batch = twins.sampled_labels(model, batch, curvature.draws, curvature.seed)
    return twins.kronecker(model, problem.loss, batch, block)


def _influence(
    solver: Callable[[float], Solver], curvature: Curvature, leave_one_out: float
) -> Row:
    scores = damped(lambda problem, model: _matrix(problem, model, curvature))
    drawn = getattr(curvature, "labels", "") == "sampled"
    return influence(solver, curvature, scores, leave_one_out, any_sample_order=not drawn)


def _all_classes(
    task: AttributionTask,
    order: Sequence[int],
    damping: float,
    label: Literal["loss", "margin"] = "loss",
) -> InfluenceFunction:
    _, (classes, *_) = task.layout.shapes[-1]
    curvature = ClassGaussNewton(None, classes, label=label)
    return InfluenceFunction(task, Woodbury(damping), curvature)


_from_margins = partial(_all_classes, label="margin")


TABLE = {
    "IF KFAC": _influence(Eigenbasis, KFAC(labels="empirical"), 0.2),
    "IF KFAC sampled": _influence(Eigenbasis, KFAC(draws=2, seed=5), 0.5),
    "IF EKFAC": _influence(Eigenbasis, EKFAC(labels="empirical"), 0.2),
    "IF EKFAC sampled": _influence(Eigenbasis, EKFAC(draws=2, seed=5), 0.5),
    "IF EKFAC CG": _influence(cg, EKFAC(labels="empirical"), 0.2),
    "IF full Gauss-Newton explicit": _influence(Explicit, GaussNewton(), 0.9),
    "IF Gauss-Newton of all classes Woodbury": replace(
        _influence(Woodbury, ClassGaussNewton(draws=None, classes=3), 0.9),
        make=_all_classes,
        refuses={"language model": "ClassGaussNewton needs one label per sample, got sequences"},
    ),
    "IF Gauss-Newton of all classes from margins": replace(
        _influence(Woodbury, ClassGaussNewton(draws=None, classes=3), 0.9),
        make=_from_margins,
        refuses={"language model": "ClassGaussNewton needs one label per sample, got sequences"},
    ),
    "IF full Gauss-Newton CG": _influence(cg, GaussNewton(), 0.9),
}
