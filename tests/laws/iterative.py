"""Rows of the influence function with LiSSA, Lanczos and DataInf, and of RelatIF."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from headwater import targets
from headwater.attributors import RelatIF
from headwater.attributors.influence_function import Norm
from headwater.curvature import Curvature, EmpiricalFisher, ExactHessian, MarginGaussNewton
from headwater.solvers import ConjugateGradient, DataInf, Explicit, Lanczos, LiSSA, Solver, Woodbury
from tests import reference
from tests.laws.row import DAMPING, One, Row, cg, influence, mean, sides
from tests.problems import Problem

RANK = 5


def _rows(problem: Problem, model: nn.Module) -> Tensor:
    """√(p(1-p)) ∇m: the rows that the Gauss-Newton matrix is made of."""
    rows = reference.per_sample_gradients(model, targets.margin, problem.train)
    p = 1.0 - reference.error_probabilities(reference.values(model, targets.margin, problem.train))
    return rows * (p * (1.0 - p)).sqrt()[:, None]


def _gauss_newton(problem: Problem, model: nn.Module) -> Tensor:
    return reference.damped_inverse(reference.fisher(_rows(problem, model)), DAMPING)


def _hessian(problem: Problem, model: nn.Module) -> Tensor:
    return reference.damped_inverse(reference.hessian(model, problem.loss, problem.train), DAMPING)


def _data_inf(problem: Problem, model: nn.Module) -> Tensor:
    rows = reference.per_sample_gradients(model, problem.loss, problem.train)
    return reference.data_inf(rows, DAMPING, reference.layers(model))


def _low_rank(problem: Problem, model: nn.Module) -> Tensor:
    """V (Λ + λI)^-1 Vᵀ + (I - V Vᵀ) / λ with the positive Ritz pairs of the Hessian."""
    matrix = reference.hessian(model, problem.loss, problem.train)
    values, v = reference.krylov(matrix, RANK, seed=2)
    outside = torch.eye(len(matrix), dtype=matrix.dtype) - v.T @ v
    return v.T @ torch.diag(1.0 / (values + DAMPING)) @ v + outside / DAMPING


def _influence(
    solver: Callable[[float], Solver],
    curvature: Curvature,
    inverse: One,
    leave_one_out: float = 0.2,
) -> Row:
    def scores(problem: Problem, model: nn.Module) -> Tensor:
        train, test = sides(problem, model)
        return reference.gradient_products(train, test @ inverse(problem, model)) / len(train)

    return influence(solver, curvature, scores, leave_one_out)


def _relative(
    solver: Callable[[float], Solver], curvature: Curvature, norm: Norm, inverse: One
) -> Row:
    def twin(problem: Problem, model: nn.Module, _: int) -> Tensor:
        return reference.relative_influence(*sides(problem, model), inverse(problem, model), norm)

    row = _influence(solver, curvature, inverse)
    return replace(
        row,
        kind=RelatIF,
        make=lambda task, order, damping: RelatIF(task, solver(damping), curvature, norm),
        twin=mean(twin),
    )


def _preconditioned(damping: float) -> ConjugateGradient:
    low = Lanczos(damping, rank=RANK)
    return ConjugateGradient(damping, 300, 1e-13, preconditioner=low)


def _lissa(damping: float) -> LiSSA:
    depth = 1500 if damping <= 1 else 150 if damping < 10 else 50
    return LiSSA(damping, depth=depth, batch_size=100)


TABLE = {
    "IF Gauss-Newton LiSSA": _influence(_lissa, MarginGaussNewton(), _gauss_newton, 0.9),
    "IF Gauss-Newton Lanczos": _influence(
        lambda damping: Lanczos(damping, rank=100), MarginGaussNewton(), _gauss_newton, 0.9
    ),
    "IF Gauss-Newton preconditioned CG": _influence(
        _preconditioned, MarginGaussNewton(), _gauss_newton, 0.9
    ),
    "IF Hessian Lanczos, low rank": _influence(
        lambda damping: Lanczos(damping, rank=RANK, seed=2), ExactHessian(), _low_rank
    ),
    "IF DataInf": _influence(DataInf, EmpiricalFisher(), _data_inf),
    **{
        f"RelatIF {norm} {name}": _relative(solver, curvature, norm, inverse)
        for norm in ("loss", "parameters")
        for name, solver, curvature, inverse in (
            ("Woodbury", Woodbury, MarginGaussNewton(), _gauss_newton),
            ("explicit", Explicit, ExactHessian(), _hessian),
            ("CG", cg, MarginGaussNewton(), _gauss_newton),
            ("DataInf", DataInf, EmpiricalFisher(), _data_inf),
        )
    },
}
