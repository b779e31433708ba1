"""The Gauss-Newton matrix of all classes, as rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.curvature import ClassGaussNewton
from headwater.gradients.source import CapturedSource
from tests import reference_curvature as twins
from tests.problems import PROBLEMS, Logistic, Problem, split


def _dense(problem: Problem, curvature: ClassGaussNewton, sizes: int = 100) -> Tensor:
    task = problem.task()
    batches = split(problem.train, sizes)
    source = CapturedSource(task, 0, batches)
    return curvature.operator(source, {}).dense()


@pytest.mark.parametrize("name", ["mlp", "shared linear"])
def test_with_all_classes_it_is_the_gauss_newton_matrix(name: str) -> None:
    problem = PROBLEMS[name]()
    wanted = twins.gauss_newton(problem.model, problem.loss, problem.train)
    for sizes in (100, 4):
        found = _dense(problem, ClassGaussNewton(draws=None, classes=3), sizes)
        assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-10)


def test_with_two_classes_one_draw_is_all() -> None:
    problem = Logistic(n=9, classes=2).problem()
    wanted = twins.gauss_newton(problem.model, problem.loss, problem.train)
    assert torch.allclose(_dense(problem, ClassGaussNewton()), wanted, rtol=1e-8, atol=1e-10)


def test_the_mean_over_draws_is_the_gauss_newton_matrix() -> None:
    problem = PROBLEMS["mlp"]()
    wanted = twins.gauss_newton(problem.model, problem.loss, problem.train)
    found = _dense(problem, ClassGaussNewton(draws=400, seed=3))
    assert float((found - wanted).norm() / wanted.norm()) < 0.05
    other = _dense(problem, ClassGaussNewton(draws=1, seed=3))
    assert float((other - wanted).norm() / wanted.norm()) > 0.05


def test_draws_do_not_depend_on_the_batches_but_on_the_seed() -> None:
    problem = PROBLEMS["mlp"]()
    wanted = _dense(problem, ClassGaussNewton(draws=2, seed=1))
    assert torch.allclose(_dense(problem, ClassGaussNewton(draws=2, seed=1), 4), wanted)
    assert not torch.allclose(_dense(problem, ClassGaussNewton(draws=2, seed=2)), wanted)


@pytest.mark.parametrize(
    "arguments",
    [{"draws": 0}, {"draws": None}, {"draws": 1, "classes": 3}, {"draws": None, "classes": 1}],
)
def test_arguments_out_of_range_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match="draws"):
        ClassGaussNewton(**arguments)


def test_another_number_of_classes_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    with pytest.raises(ValueError, match="the model's logits, 3, got 4"):
        ClassGaussNewton(None, 4).check(task.bind(), task, problem.train)
