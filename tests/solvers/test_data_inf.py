"""DataInf: layer by layer in Gram space, equal to the mean of the samples' inverses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.curvature import MarginGaussNewton, RowOperator
from headwater.gradients import GradientCapture, Gradients
from headwater.solvers import DataInf, Solver
from tests import reference
from tests.problems import PROBLEMS, Problem
from tests.systems import Matrix, gradients_of, in_blocks, random, row_operator


def _captured(problem: Problem) -> tuple[RowOperator, Gradients, Tensor]:
    """Return the operator of factored gradients, test gradients, and the slow inverse."""
    task = problem.task(target=None)
    gradients = GradientCapture(task.bind(), task.loss)(problem.train)
    scale = random(len(gradients), seed=5).abs() + 0.2
    rows = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    groups = [
        torch.cat([torch.arange(s.start, s.stop) for s in c]) for c in gradients.scheme.columns
    ]
    order, ends = torch.cat(groups), torch.tensor([len(g) for g in groups]).cumsum(0).tolist()
    layers = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
    inverse = reference.data_inf((rows * scale[:, None])[:, order], 0.3, layers)
    back = order.argsort()
    test = GradientCapture(task.bind(), task.loss)(problem.test)
    return RowOperator(in_blocks(gradients, 4), scale), test, inverse[back][:, back]


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_groups_of_a_model_are_inverted_on_their_own(name: str) -> None:
    operator, test, inverse = _captured(PROBLEMS[name]())
    solver = DataInf(damping=0.3)
    state, g = solver.prepare(operator), gradients_of(operator)
    solved = solver.solve_gradients(operator, state, test)
    found = solver.score(g[2:6], slice(2, 6), solved)
    wanted = (g.dense() @ inverse @ test.dense().T)[2:6]
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)
    value = solver.solve(operator, state, test.dense()).value
    assert torch.allclose(value, test.dense() @ inverse, rtol=1e-9, atol=1e-12)
    kernel = (g.dense() @ inverse @ g.dense().T).diagonal()
    assert torch.allclose(solver.quadratic(operator, state, operator.source, 1), kernel, rtol=1e-9)
    norms = (g.dense() @ inverse).square().sum(1)
    assert torch.allclose(solver.quadratic(operator, state, operator.source, 2), norms, rtol=1e-9)


def test_blocks_and_routes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, test, _ = _captured(PROBLEMS["mlp"]())
    solver = DataInf(damping=0.3)

    def everything(solver: Solver) -> list[Tensor]:
        state = solver.prepare(operator)
        products = solver.solve_gradients(operator, state, test)["products"]
        norms = solver.quadratic(operator, state, operator.source, 2)
        return [products, solver.quadratic(operator, state, operator.source, 1), norms]

    wanted = everything(solver)
    monkeypatch.setattr("headwater.solvers.data_inf.default_budget", lambda device: 1)
    assert all(map(torch.allclose, everything(solver), wanted))
    few = row_operator(n=60, p=4)  # n > 2 p: by vectors
    products = solver.solve_gradients(few, solver.prepare(few), gradients_of(few))["products"]
    rows = gradients_of(few).dense() * few.scale[:, None]
    kernel = gradients_of(few).dense() @ reference.data_inf(rows, 0.3) @ gradients_of(few).dense().T
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
    with pytest.raises(TypeError, match="DataInf needs an operator that is a RowOperator"):
        DataInf(damping=0.1).prepare(Matrix(torch.eye(3, dtype=torch.float64)))


def test_data_inf_of_the_gauss_newton_rows() -> None:
    margins = torch.tensor([-50.0, 1.0, 60.0], dtype=torch.float64)
    g, scale = random(3, 5), MarginGaussNewton().row_scale(margins)
    operator, solver = RowOperator.of(Gradients.of_vectors(g, margins), scale), DataInf(damping=0.1)
    found = solver.quadratic(operator, solver.prepare(operator), operator.source, 1)
    inverse = reference.data_inf(g * scale[:, None], 0.1)
    assert torch.allclose(found, (g @ inverse @ g.T).diagonal(), rtol=1e-8)
