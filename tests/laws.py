"""One table of all attributors, with what each promises and its slow twin.

A new attributor needs one row here, and is then held to every law of
tests/attributors/test_laws.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors import TRAK, Attributor, GradCos, GradDot, InfluenceFunction, TracInCP
from headwater.attributors.source import CapturedSource
from headwater.curvature import EmpiricalFisher, GaussNewton, SampleCurvature
from headwater.projections import Rademacher
from headwater.solvers import ConjugateGradient, Explicit, Solver, Woodbury
from tests import reference
from tests.problems import Problem

DAMPING = 3.0
"""More than the most negative eigenvalue of the Hessians of the problems."""
RATES = (0.1, 0.3, 0.2)
Models = Sequence[nn.Module]
Twin = Callable[[Problem, Models], Tensor]


@dataclass(frozen=True)
class Row:
    """An attributor, how it is made, and its promises.

    Args:
        kind: the class.
        make: makes it for a task, the order its checkpoints come in, and a damping.
        twin: the scores by loops and dense matrices, from the models at the checkpoints.
        checkpoints: how many the laws are tested with.
        margin: whether it explains the margin only.
        any_order: whether permuted checkpoints must give the same scores.
        leave_one_out: the least correlation with true leave-one-out on a convex problem.
    """

    kind: type[Attributor]
    make: Callable[[AttributionTask, Sequence[int], float], Attributor]
    twin: Twin
    checkpoints: int = 1
    margin: bool = False
    any_order: bool = True
    leave_one_out: float = 0.2

    def attributor(
        self,
        problem: Problem,
        checkpoints: Sequence[Any],
        order: Sequence[int] | None = None,
        damping: float = DAMPING,
        **task: Any,
    ) -> Attributor:
        """Make it for a task that it accepts."""
        if self.margin:
            task["target"] = targets.margin
        order = range(len(checkpoints)) if order is None else order
        return self.make(problem.task(checkpoints=checkpoints, **task), order, damping)


def _mean(one: Callable[[Problem, nn.Module, int], Tensor]) -> Twin:
    """Average the scores of one checkpoint over all."""

    def twin(problem: Problem, models: Models) -> Tensor:
        return sum(one(problem, m, c) for c, m in enumerate(models)) / len(models)

    return twin


def _sides(problem: Problem, model: nn.Module) -> tuple[Tensor, Tensor]:
    target = problem.target or problem.loss
    train = reference.per_sample_gradients(model, problem.loss, problem.train)
    return train, reference.per_sample_gradients(model, target, problem.test)


def _grad_dot(problem: Problem, model: nn.Module, _: int) -> Tensor:
    return reference.gradient_products(*_sides(problem, model))


def _grad_cos(problem: Problem, model: nn.Module, _: int) -> Tensor:
    return reference.gradient_cosines(*_sides(problem, model))


def _tracin(problem: Problem, models: Models) -> Tensor:
    return sum(
        rate * _grad_dot(problem, model, 0) for rate, model in zip(RATES, models, strict=True)
    )


def _curvature(problem: Problem, model: nn.Module, curvature: SampleCurvature | None) -> Tensor:
    if curvature is None:
        return reference.hessian(model, problem.loss, problem.train)
    if isinstance(curvature, EmpiricalFisher):
        return reference.fisher(reference.per_sample_gradients(model, problem.loss, problem.train))
    rows = reference.per_sample_gradients(model, targets.margin, problem.train)
    p = 1.0 - reference.error_probabilities(reference.values(model, targets.margin, problem.train))
    return reference.fisher(rows, (p * (1.0 - p)).sqrt())


def _influence(
    solver: Callable[[float], Solver], curvature: SampleCurvature | None, leave_one_out: float
) -> Row:
    def twin(problem: Problem, model: nn.Module, _: int) -> Tensor:
        matrix = _curvature(problem, model, curvature)
        return reference.influence(*_sides(problem, model), matrix, DAMPING)

    return Row(
        InfluenceFunction,
        lambda task, order, damping: InfluenceFunction(task, solver(damping), curvature),
        _mean(twin),
        checkpoints=2,
        leave_one_out=leave_one_out,
    )


def _trak(checkpoints: int, dimension: int = 4, damping: float = 1e-3) -> Row:
    projection = Rademacher(dimension, seed=3)

    def twin(problem: Problem, models: Models) -> Tensor:
        products, errors = 0.0, 0.0
        for c, model in enumerate(models):
            train = reference.per_sample_gradients(model, targets.margin, problem.train)
            test = reference.per_sample_gradients(model, targets.margin, problem.test)
            matrix = reference.rademacher_matrix(dimension, train.shape[1], 3, c)
            products += reference.trak(train, test, matrix, damping) / len(models)
            margins = reference.values(model, targets.margin, problem.train)
            errors += reference.error_probabilities(margins) / len(models)
        return products * errors[:, None]

    return Row(
        TRAK,
        lambda task, order, _: TRAK(task, projection, damping),
        twin,
        checkpoints=checkpoints,
        margin=True,
        any_order=False,  # the projection belongs to the place of the checkpoint
    )


def _cg(damping: float) -> ConjugateGradient:
    return ConjugateGradient(damping, max_iterations=300, tolerance=1e-13)


TABLE: dict[str, Row] = {
    "GradDot": Row(GradDot, lambda task, *_: GradDot(task), _mean(_grad_dot), 2),
    "GradCos": Row(GradCos, lambda task, *_: GradCos(task), _mean(_grad_cos), 2),
    "TracInCP": Row(
        TracInCP,
        lambda task, order, _: TracInCP(task, [RATES[c] for c in order]),
        _tracin,
        checkpoints=3,
    ),
    "IF Hessian explicit": _influence(Explicit, None, 0.9),
    "IF Hessian CG": _influence(_cg, None, 0.9),
    "IF Gauss-Newton explicit": _influence(Explicit, GaussNewton(), 0.9),
    "IF Gauss-Newton CG": _influence(_cg, GaussNewton(), 0.9),
    "IF Gauss-Newton Woodbury": _influence(Woodbury, GaussNewton(), 0.9),
    "IF Fisher explicit": _influence(Explicit, EmpiricalFisher(), 0.2),
    "IF Fisher CG": _influence(_cg, EmpiricalFisher(), 0.2),
    "IF Fisher Woodbury": _influence(Woodbury, EmpiricalFisher(), 0.2),
    "TRAK-1": _trak(1),
    "TRAK-3": _trak(3),
}


def float64_scores(attributor: Attributor, train: Any, test: Any) -> Tensor:
    """Return the scores before they are rounded to float32, for comparisons to 1e-10."""
    task, total, weights = attributor.task, 0.0, []
    for c in range(len(task.checkpoints)):
        source = CapturedSource(task, c, train, attributor.train_function, attributor.represent)
        source.capture_test(test)
        solved = attributor.solve(source, attributor.prepare(source))
        blocks = [block for _, block in attributor.score(source, solved)]
        total = total + attributor.checkpoint_weight(c, len(task.checkpoints)) * torch.cat(blocks)
        weights.append(attributor.sample_weight(source))
    if weights[0] is not None:
        total = total * torch.stack(weights).mean(0)[:, None]
    return total
