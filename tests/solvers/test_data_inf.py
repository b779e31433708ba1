"""DataInf: layer by layer in Gram space, equal to the mean of the samples' inverses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.curvature import GaussNewton, RowOperator
from headwater.gradients import DenseGradients, GradientCapture
from headwater.solvers import DataInf, Solver
from tests import reference
from tests.problems import PROBLEMS, Problem
from tests.systems import Matrix, random, row_operator


def _captured(problem: Problem) -> tuple[RowOperator, DenseGradients, Tensor]:
    """Return the operator of factored gradients, test gradients, and the slow inverse."""
    task = problem.task(target=None)
    gradients = GradientCapture(task.bind(), task.loss)(problem.train)
    scale = random(len(gradients), seed=5).abs() + 0.2
    rows = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    inverse = reference.data_inf(rows * scale[:, None], 0.3, reference.layers(problem.model))
    test = GradientCapture(task.bind(), task.loss)(problem.test)
    return RowOperator(gradients, scale), test, inverse


@pytest.mark.parametrize(
    "name", ["mlp", "mlp with frozen layer", "mlp with frozen weight", "shared linear", "mixed"]
)
def test_the_layers_of_a_model_are_its_modules(name: str) -> None:
    operator, test, inverse = _captured(PROBLEMS[name]())
    solver = DataInf(damping=0.3)
    state, g = solver.prepare(operator), operator.gradients
    solved = solver.precondition(operator, state, test)
    found = solver.inner(g[2:6], slice(2, 6), operator.scale[2:6], solved)
    assert torch.allclose(found, (g.dense() @ inverse @ test.dense().T)[2:6], rtol=1e-9)
    value = solver.solve(operator, state, test.dense()).value
    assert torch.allclose(value, test.dense() @ inverse, rtol=1e-9, atol=1e-12)
    kernel = (g.dense() @ inverse @ g.dense().T).diagonal()
    assert torch.allclose(solver.self_inner(operator, state, g), kernel, rtol=1e-9)
    norms = (g.dense() @ inverse).square().sum(1)
    assert torch.allclose(solver.squared_solution_norms(operator, state, g), norms, rtol=1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_layers_put_together_are_the_gradient(name: str) -> None:
    problem = PROBLEMS[name]()
    task = problem.task(target=None)
    gradients = GradientCapture(task.bind(), task.loss)(problem.train)
    whole, again = gradients.dense(), torch.full((problem.n, gradients.dimension), torch.nan)
    again, inner = again.double(), 0.0
    for part, columns in zip(gradients.by_layer(), gradients.layer_columns(), strict=True):
        dense, start = part.dense(), 0
        for where in columns:
            again[:, where] = dense[:, start : start + where.stop - where.start]
            start += where.stop - where.start
        assert start == part.dimension
        inner = inner + part.inner(part)
    assert torch.equal(again, whole)
    assert torch.allclose(inner, gradients.inner(gradients), rtol=1e-10)


def test_blocks_and_routes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, test, _ = _captured(PROBLEMS["mlp"]())
    train, solver = operator.gradients, DataInf(damping=0.3)

    def everything(solver: Solver) -> list[Tensor]:
        state = solver.prepare(operator)
        products = solver.precondition(operator, state, test)["products"]
        norms = solver.squared_solution_norms(operator, state, train)
        return [products, solver.self_inner(operator, state, train), norms]

    wanted = everything(solver)
    monkeypatch.setattr("headwater.solvers.data_inf.BLOCK", 20)
    assert all(map(torch.allclose, everything(solver), wanted))
    few = row_operator(n=60, p=4)  # n > 2 p: by vectors
    products = solver.precondition(few, solver.prepare(few), few.gradients)["products"]
    rows = few.gradients.dense() * few.scale[:, None]
    kernel = few.gradients.dense() @ reference.data_inf(rows, 0.3) @ few.gradients.dense().T
    assert torch.allclose(products, kernel, rtol=1e-9)


def test_data_inf_with_one_sample_is_exact() -> None:
    operator, rhs = row_operator(n=1), random(2, 20, seed=4)
    solver = DataInf(damping=0.2)
    solution = solver.solve(operator, solver.prepare(operator), rhs)
    wanted = rhs @ reference.damped_inverse(operator.dense(), 0.2)
    assert torch.allclose(solution.value, wanted, rtol=1e-10)
    assert bool(solution.converged.all())


def test_data_inf_refuses_no_damping() -> None:
    # dattri's default is 0: it divides by 0 everywhere (D7).
    with pytest.raises(ValueError, match="damping must be > 0, got 0"):
        DataInf(damping=0.0)
    assert "damping" in DataInf.__dataclass_fields__
    with pytest.raises(TypeError, match="damping"):
        DataInf()


def test_data_inf_refuses_an_operator_without_rows() -> None:
    with pytest.raises(TypeError, match="DataInf needs an operator made of rows"):
        DataInf(damping=0.1).prepare(Matrix(torch.eye(3, dtype=torch.float64)))


def test_data_inf_of_the_gauss_newton_rows() -> None:
    margins = torch.tensor([-50.0, 1.0, 60.0], dtype=torch.float64)
    g, scale = random(3, 5), GaussNewton().row_scale(margins)
    operator, solver = RowOperator(DenseGradients(g, margins), scale), DataInf(damping=0.1)
    found = solver.self_inner(operator, solver.prepare(operator), operator.gradients)
    inverse = reference.data_inf(g * scale[:, None], 0.1)
    assert torch.allclose(found, (g @ inverse @ g.T).diagonal(), rtol=1e-8)
