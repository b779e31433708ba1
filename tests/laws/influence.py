"""Rows of the influence function, for every exact curvature and every exact solver."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from headwater import targets
from headwater.curvature import EmpiricalFisher, MarginGaussNewton, OuterProductCurvature
from headwater.solvers import Explicit, Solver, Woodbury
from tests import reference
from tests.laws.row import Row, cg, damped, influence
from tests.problems import Problem


def _curvature(
    problem: Problem, model: nn.Module, curvature: OuterProductCurvature | None
) -> Tensor:
    if curvature is None:
        return reference.hessian(model, problem.loss, problem.train)
    if isinstance(curvature, EmpiricalFisher):
        return reference.fisher(reference.per_sample_gradients(model, problem.loss, problem.train))
    rows = reference.per_sample_gradients(model, targets.margin, problem.train)
    p = 1.0 - reference.error_probabilities(reference.values(model, targets.margin, problem.train))
    return reference.fisher(rows, (p * (1.0 - p)).sqrt())


def _influence(
    solver: Callable[[float], Solver], curvature: OuterProductCurvature | None, leave_one_out: float
) -> Row:
    scores = damped(lambda problem, model: _curvature(problem, model, curvature))
    return influence(solver, curvature, scores, leave_one_out)


TABLE = {
    "IF Hessian explicit": _influence(Explicit, None, 0.9),
    "IF Hessian CG": _influence(cg, None, 0.9),
    "IF Gauss-Newton explicit": _influence(Explicit, MarginGaussNewton(), 0.9),
    "IF Gauss-Newton CG": _influence(cg, MarginGaussNewton(), 0.9),
    "IF Gauss-Newton Woodbury": _influence(Woodbury, MarginGaussNewton(), 0.9),
    "IF Fisher explicit": _influence(Explicit, EmpiricalFisher(), 0.2),
    "IF Fisher CG": _influence(cg, EmpiricalFisher(), 0.2),
    "IF Fisher Woodbury": _influence(Woodbury, EmpiricalFisher(), 0.2),
}
