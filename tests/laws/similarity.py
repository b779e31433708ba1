"""Rows of Grad-Dot, Grad-Cos and TracInCP."""

from __future__ import annotations

from torch import Tensor, nn

from headwater.attributors import GradCos, GradDot, TracInCP
from tests import reference
from tests.laws.row import Models, Row, mean, sides
from tests.problems import Problem

RATES = (0.1, 0.3, 0.2)


def _grad_dot(problem: Problem, model: nn.Module, _: int) -> Tensor:
    return reference.gradient_products(*sides(problem, model))


def _grad_cos(problem: Problem, model: nn.Module, _: int) -> Tensor:
    return reference.gradient_cosines(*sides(problem, model))


def _tracin(problem: Problem, models: Models) -> Tensor:
    return sum(
        rate * _grad_dot(problem, model, 0) for rate, model in zip(RATES, models, strict=True)
    )


TABLE = {
    "GradDot": Row(GradDot, lambda task, *_: GradDot(task), mean(_grad_dot), 2),
    "GradCos": Row(GradCos, lambda task, *_: GradCos(task), mean(_grad_cos), 2, suspects=False),
    "TracInCP": Row(
        TracInCP,
        lambda task, order, _: TracInCP(task, [RATES[c] for c in order]),
        _tracin,
        checkpoints=3,
    ),
}
