"""Rows of the influence function with K-FAC, EK-FAC and the full Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from headwater import AttributionTask
from headwater.attributors import InfluenceFunction
from headwater.curvature import EKFAC, KFAC, Curvature, FullGaussNewton, SampledGaussNewton
from headwater.solvers import ConjugateGradient, Eigenbasis, Explicit, Solver, Woodbury
from tests import reference
from tests import reference_curvature as twins
from tests.laws.row import DAMPING, Row, mean, sides
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
    def twin(problem: Problem, model: nn.Module, _: int) -> Tensor:
        matrix = _matrix(problem, model, curvature)
        return reference.influence(*sides(problem, model), matrix, DAMPING)

    return Row(
        InfluenceFunction,
        lambda task, order, damping: InfluenceFunction(task, solver(damping), curvature),
        mean(twin),
        checkpoints=2,
        leave_one_out=leave_one_out,
        any_sample_order=getattr(curvature, "labels", "") != "sampled",
    )


def _cg(damping: float) -> ConjugateGradient:
    return ConjugateGradient(damping, max_iterations=300, tolerance=1e-13)


def _all_classes(task: AttributionTask, order: Sequence[int], damping: float) -> InfluenceFunction:
    _, (classes, *_) = task.layout.shapes[-1]
    return InfluenceFunction(task, Woodbury(damping), SampledGaussNewton(None, classes))


TABLE = {
    "IF KFAC": _influence(Eigenbasis, KFAC(labels="empirical"), 0.2),
    "IF KFAC sampled": _influence(Eigenbasis, KFAC(draws=2, seed=5), 0.5),
    "IF EKFAC": _influence(Eigenbasis, EKFAC(labels="empirical"), 0.2),
    "IF EKFAC sampled": _influence(Eigenbasis, EKFAC(draws=2, seed=5), 0.5),
    "IF EKFAC CG": _influence(_cg, EKFAC(labels="empirical"), 0.2),
    "IF full Gauss-Newton explicit": _influence(Explicit, FullGaussNewton(), 0.9),
    "IF Gauss-Newton of all classes Woodbury": replace(
        _influence(Woodbury, SampledGaussNewton(draws=None, classes=3), 0.9), make=_all_classes
    ),
    "IF full Gauss-Newton CG": _influence(_cg, FullGaussNewton(), 0.9),
}
