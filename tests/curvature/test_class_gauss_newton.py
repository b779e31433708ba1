"""The Gauss-Newton matrix of all classes, as rows."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from headwater.attributors import InfluenceFunction
from headwater.curvature import ClassGaussNewton
from headwater.gradients import GradientCapture
from headwater.gradients.source import CapturedSource
from headwater.solvers import Woodbury
from tests import reference
from tests import reference_curvature as twins
from tests.groups import train_gradients
from tests.problems import PROBLEMS, Logistic, Problem, split


def _dense(problem: Problem, curvature: ClassGaussNewton, sizes: int = 100) -> Tensor:
    task = problem.task()
    batches = split(problem.train, sizes)
    source = CapturedSource(task, 0, batches, curvature.function(task))
    return curvature.operator(source, curvature.estimate(source)).dense()


@pytest.mark.parametrize("name", ["mlp", "shared linear"])
def test_with_all_classes_it_is_the_gauss_newton_matrix(name: str) -> None:
    problem = PROBLEMS[name]()
    wanted = twins.gauss_newton(problem.model, problem.loss, problem.train)
    for sizes in (100, 4):
        found = _dense(problem, ClassGaussNewton(draws=None, classes=3), sizes)
        assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("draws", [1, 3])
def test_rows_of_margins_are_those_of_losses(draws: int) -> None:
    problem = PROBLEMS["mlp"]()
    wanted = _dense(problem, ClassGaussNewton(draws, seed=1))
    found = _dense(problem, ClassGaussNewton(draws, seed=1, label="margin"))
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_margins_give_the_same_scores_as_losses() -> None:
    problem = PROBLEMS["mlp"]()
    train, test, solver = split(problem.train, 4), [problem.test], Woodbury(0.1)
    both = [
        InfluenceFunction(problem.task(), solver, ClassGaussNewton(label=label)).cache(train)
        for label in ("loss", "margin")
    ]
    scores, of_margins = (method.attribute(train, test) for method in both)
    assert torch.allclose(scores, of_margins, rtol=1e-5, atol=1e-7 * float(scores.abs().max()))
    own, of_margins = (method.self_influence(train) for method in both)
    assert torch.allclose(own, of_margins, rtol=1e-5)


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


def test_other_classes_are_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = GradientCapture.__call__

    def counted(self, batch, first_row=0):
        seen.append(len(batch[0]))
        return plain(self, batch, first_row)

    problem = PROBLEMS["mlp"]()
    task, curvature, solver = problem.task(), ClassGaussNewton(draws=2), Woodbury(0.1)
    source = CapturedSource(task, 0, split(problem.train, 5)).with_tests([problem.test])
    train_gradients(source), source.test()
    monkeypatch.setattr(GradientCapture, "__call__", counted)
    estimated = load(save(dict(curvature.estimate(source))))
    operator = curvature.operator(source, estimated)
    state = solver.prepare(operator)
    solved = solver.solve_gradients(curvature.operator(source, estimated), state, source.test())
    own = solver.quadratic(curvature.operator(source, estimated), state, source, 1)
    assert seen == [5, 5, 4, 4], "two draws per batch, once"
    g, test = train_gradients(source).dense(), source.test().dense()
    inverse = reference.damped_inverse(operator.dense(), 0.1)
    found = solver.score(train_gradients(source), slice(0, 9), solved)
    assert found.shape == (9, 5)
    assert torch.allclose(found, g @ inverse @ test.T, rtol=1e-8)
    assert torch.allclose(own, (g @ inverse @ g.T).diagonal(), rtol=1e-8)


def test_more_gradients_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = PROBLEMS["mlp"]()
    source = CapturedSource(problem.task(memory_budget="1GB"), 0, [problem.train])
    train_gradients(source)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100))
    with pytest.raises(MemoryError, match=r"draw of another class needs .* use fewer draws"):
        ClassGaussNewton(draws=3).estimate(source)
