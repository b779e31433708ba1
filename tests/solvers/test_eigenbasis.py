"""The eigenbasis solver against the dense inverse, and its fast paths against its solution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.attributors import InfluenceFunction
from headwater.curvature import EKFAC, KFAC, KeptBlocks, KroneckerOperator
from headwater.gradients import GradientCapture, Gradients
from headwater.gradients.source import CapturedSource
from headwater.solvers import Eigenbasis
from tests import reference
from tests.problems import PROBLEMS, Problem, cross_entropy, split
from tests.systems import random, row_operator

NAMES = [*PROBLEMS, "dead inputs"]
DAMPINGS = [1e-6, 1e-2, 100.0]


def _problem(name: str) -> Problem:
    if name != "dead inputs":
        return PROBLEMS[name]()
    problem = PROBLEMS["mlp"]()
    x = problem.train[0].clone()
    x[:, [1, 3]] = 0.0  # the test samples are not dead there
    problem.model.body[0].bias.data[2:6] = -50.0  # units that no sample reaches
    return Problem(problem.model, problem.loss, (x, problem.train[1]), problem.test)


def _parts(
    name: str, dtype: torch.dtype = torch.float64, curvature: KFAC | None = None
) -> tuple[KroneckerOperator, Gradients, Gradients]:
    """Return EK-FAC, and the gradients at the training and the test samples."""
    problem, curvature = _problem(name), curvature or EKFAC(labels="empirical")
    task = problem.task()
    source = CapturedSource(task, 0, split(problem.train, 4))
    operator = curvature.operator(source, curvature.estimate(source))
    train, test = (
        GradientCapture(task.bind(), task.loss)(b) for b in (problem.train, problem.test)
    )
    if dtype == torch.float64:
        return operator, train, test
    narrow = {k: t.to(dtype) if t.is_floating_point() else t for k, t in operator.tensors().items()}
    sides = [
        g.with_tensors(
            {k: t.to(dtype) if t.is_floating_point() else t for k, t in g.tensors().items()}
        )
        for g in (train, test)
    ]
    return KroneckerOperator.from_tensors(narrow, operator.scheme), *sides


def _kernel(operator: KroneckerOperator, damping: float, left: Tensor, right: Tensor) -> Tensor:
    return left @ reference.damped_inverse(operator.dense(), damping) @ right.T


def _off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("name", NAMES)
def test_the_solution_is_that_of_the_dense_inverse(name: str, damping: float) -> None:
    operator, _, test = _parts(name)
    solver, rhs = Eigenbasis(damping), test.dense()
    solution = solver.solve(operator, solver.prepare(operator), rhs)
    wanted = rhs @ reference.damped_inverse(operator.dense(), damping)
    assert _off(solution.value, wanted) < 1e-8
    residual = (operator.apply(solution.value) + damping * solution.value - rhs).norm(dim=1)
    assert torch.allclose(solution.residual, residual / rhs.norm(dim=1), atol=1e-12)
    assert bool(solution.converged.all())
    assert solution.steps.tolist() == [1] * len(rhs)
    assert torch.equal(solver.inverse(operator, {})(rhs), solution.value)


@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_dense_inverse(name: str, damping: float) -> None:
    operator, train, test = _parts(name)
    solver = Eigenbasis(damping)
    wanted = _kernel(operator, damping, train.dense(), test.dense())
    solved = solver.solve_gradients(operator, {}, test)
    assert all(t.is_contiguous() for t in solved.values())
    for rows in (slice(0, 9), slice(3, 7)):
        found = solver.score(train[rows], rows, solved)
        assert _off(found, wanted[rows]) < 1e-9
    own = _kernel(operator, damping, train.dense(), train.dense()).diagonal()
    assert _off(solver.quadratic(operator, {}, KeptBlocks((train,)), 1), own) < 1e-9
    inverse = reference.damped_inverse(operator.dense(), damping)
    norms = (train.dense() @ inverse).square().sum(1)
    assert _off(solver.quadratic(operator, {}, KeptBlocks((train,)), 2), norms) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_float32_loses_no_more_than_it_must(name: str) -> None:
    wide, narrow = _parts(name), _parts(name, torch.float32)
    for damping in (1e-4, 1.0):
        solver = Eigenbasis(damping)
        wanted = _kernel(wide[0], damping, wide[1].dense(), wide[2].dense())
        operator, train, test = narrow
        solved = solver.solve_gradients(operator, {}, test)
        found = solver.score(train, slice(0, 9), solved)
        assert found.dtype == torch.float32
        assert _off(found.double(), wanted) < 1e-4


def test_directions_without_curvature_form_no_gradient() -> None:
    operator, train, test = _parts("dead inputs")
    solved = Eigenbasis(1e-2).solve_gradients(operator, {}, test)
    _, rows, columns = solved["near.body.0.weight"].shape
    assert rows <= 3, "four of seven units are dead"
    assert columns <= 4, "two of six inputs are dead"
    _, rows, _ = solved["near.head.weight"].shape
    assert rows == 2, "errors of softmax add up to 0"
    # A damping that hides all curvature leaves plain inner products.
    solved = Eigenbasis(1e20).solve_gradients(operator, {}, test)
    assert solved["near.body.0.weight"].numel() == 0
    found = Eigenbasis(1e20).score(train, slice(0, 9), solved)
    assert torch.allclose(found * 1e20, train.inner(test), rtol=1e-10)


@pytest.mark.parametrize("curvature", [KFAC(), EKFAC()], ids=["K-FAC", "EK-FAC"])
def test_one_estimate_serves_all_dampings(curvature: KFAC) -> None:
    problem = PROBLEMS["mlp"]()
    train, test = [problem.train], [problem.test]
    attributor = InfluenceFunction(problem.task(), Eigenbasis(1.0), curvature).cache(train)
    attributor.solver = Eigenbasis(0.01)
    fresh = InfluenceFunction(problem.task(), Eigenbasis(0.01), curvature).cache(train)
    assert torch.equal(attributor.attribute(train, test), fresh.attribute(train, test))


def test_other_operators_are_refused() -> None:
    with pytest.raises(
        TypeError, match="is a KroneckerOperator, got RowOperator; use Explicit or Conj"
    ):
        Eigenbasis(1.0).prepare(row_operator())


def test_gradients_of_other_layers_are_refused() -> None:
    operator, train, test = _parts("mlp")
    solver, dense = Eigenbasis(1.0), Gradients.of_vectors(train.dense())
    solved = solver.solve_gradients(operator, {}, test)
    words = "in the groups of the curvature, got"
    with pytest.raises(ValueError, match=words):
        solver.solve_gradients(operator, {}, dense)
    with pytest.raises(ValueError, match=words):
        solver.quadratic(operator, {}, KeptBlocks((_parts("sequence")[1],)), 1)
    for other in (dense, _parts("sequence")[1]):
        with pytest.raises(ValueError, match=words):
            solver.score(other, slice(0, 9), solved)
    with pytest.raises(ValueError, match=r"must have shape \(any, 85\), got \(2, 7\)"):
        solver.solve(operator, {}, torch.zeros(2, 7, dtype=torch.float64))


@pytest.mark.parametrize("damping", [0.0, -1.0, float("nan")])
def test_a_damping_that_is_not_positive_is_refused(damping: float) -> None:
    with pytest.raises(ValueError, match="damping must be > 0"):
        Eigenbasis(damping)


def test_blocks_of_any_length_give_the_same_scores() -> None:
    operator, train, test = _parts("shared linear")
    solver = Eigenbasis(0.1)
    solved = solver.solve_gradients(operator, {}, test)
    whole = solver.score(train, slice(0, 9), solved)
    ones = [solver.score(train[i : i + 1], slice(i, i + 1), solved) for i in range(9)]
    assert torch.allclose(torch.cat(ones), whole, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_few_and_many_test_samples_have_the_same_scores(count: int) -> None:
    model = torch.nn.Linear(40, 3, dtype=torch.float64)
    batch = (random(60, 40), torch.arange(60) % 3)
    problem = Problem(model, cross_entropy, batch, batch)
    task = problem.task()
    train = GradientCapture(task.bind(), task.loss)(batch)
    source = CapturedSource(task, 0, [batch])
    operator = EKFAC().operator(source, EKFAC().estimate(source))
    solver = Eigenbasis(0.01)
    solved = solver.solve_gradients(operator, {}, train[:count])
    found = solver.score(train, slice(0, 60), solved)
    wanted = _kernel(operator, 0.01, train.dense(), train[:count].dense())
    assert _off(found, wanted) < 1e-10
