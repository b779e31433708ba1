"""Every solver against the dense inverse, with honest residuals, and refusals in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from headwater import solvers
from headwater.curvature import RowOperator
from headwater.gradients import Gradients
from headwater.solvers import ConjugateGradient, DataInf, Explicit, Lanczos, LiSSA, Solver, Woodbury
from tests import reference
from tests.systems import gradients_of, random, row_operator


def _damped_inverse(g: Tensor, scale: Tensor, damping: float) -> Tensor:
    return reference.damped_inverse(reference.fisher(g, scale), damping)


@dataclass(frozen=True)
class Row:
    """What a solver promises: how it is made to be exact, and which inverse it then applies.

    Args:
        make: makes it for a damping.
        inverse: the p × p matrix from the rows g, their scale ρ and the damping.
        exact: whether that is the inverse of C + λI.
    """

    make: Callable[[float], Solver]
    inverse: Callable[[Tensor, Tensor, float], Tensor] = _damped_inverse
    exact: bool = True


TABLE = {
    "Explicit": Row(lambda damping: Explicit(damping=damping)),
    "ConjugateGradient": Row(
        lambda damping: ConjugateGradient(damping=damping, max_iterations=200, tolerance=1e-13)
    ),
    "ConjugateGradient, preconditioned": Row(
        lambda damping: ConjugateGradient(
            damping, max_iterations=200, tolerance=1e-13, preconditioner=Lanczos(1.0, rank=5)
        )
    ),
    "DataInf": Row(
        lambda damping: DataInf(damping=damping),
        lambda g, scale, damping: reference.data_inf(g * scale[:, None], damping),
        exact=False,
    ),
    "Lanczos": Row(lambda damping: Lanczos(damping=damping, rank=100)),
    "LiSSA": Row(
        lambda damping: LiSSA(damping, depth=25_000 if damping < 0.1 else 2500, batch_size=100)
    ),
    "Woodbury": Row(lambda damping: Woodbury(damping=damping)),
}


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def test_every_solver_has_a_row() -> None:
    exported = {getattr(solvers, name) for name in solvers.__all__}
    kinds = {c for c in exported if isinstance(c, type) and issubclass(c, Solver)} - {Solver}
    # Eigenbasis takes no rows at all: it is tested in test_eigenbasis.py.
    assert {c.__name__ for c in kinds} - {"Eigenbasis"} == {
        name.partition(",")[0] for name in TABLE
    }, "add the new solver to TABLE"


@pytest.mark.parametrize("damping", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize(("n", "p"), [(12, 20), (20, 7)], ids=["p > n", "p < n"])
def test_the_solution_is_that_of_the_dense_inverse(row, n, p, damping) -> None:
    operator, rhs = row_operator(n, p), random(3, p, seed=2)
    solver = row.make(damping)
    solution = solver.solve(operator, solver.prepare(operator), rhs)
    wanted = rhs @ row.inverse(gradients_of(operator).dense(), operator.scale, damping)
    assert torch.allclose(solution.value, wanted, rtol=1e-9, atol=1e-10)
    assert bool(solution.converged.all()) or not row.exact


def test_residuals_are_true(row) -> None:
    operator, rhs = row_operator(), random(3, 20, seed=2)
    for solver in (row.make(0.1), ConjugateGradient(damping=0.1, max_iterations=2)):
        solution = solver.solve(operator, solver.prepare(operator), rhs)
        left = operator.apply(solution.value) + 0.1 * solution.value
        wanted = (left - rhs).norm(dim=1) / rhs.norm(dim=1)
        assert torch.allclose(solution.residual, wanted, rtol=1e-6, atol=1e-12), solver
        assert solution.steps.shape == solution.converged.shape == (3,)


def test_right_hand_sides_do_not_see_each_other(row) -> None:
    operator, rhs = row_operator(), random(4, 20, seed=2)
    rhs[1] *= 1e6
    rhs[2] = 0.0
    solver = row.make(0.1)
    state = solver.prepare(operator)
    together = solver.solve(operator, state, rhs).value
    alone = torch.cat([solver.solve(operator, state, b[None]).value for b in rhs])
    assert torch.allclose(together, alone, rtol=1e-9, atol=1e-10)
    assert torch.equal(together[2], torch.zeros(20, dtype=torch.float64))


def test_inner_products_are_those_of_the_solution(row) -> None:
    operator, test = row_operator(), Gradients.of_vectors(random(3, 20, seed=2))
    solver = row.make(0.1)
    state = solver.prepare(operator)
    solved = solver.solve_gradients(operator, state, test)
    train = gradients_of(operator)
    wanted = train.dense() @ solver.solve(operator, state, test.dense()).value.T
    for rows in (slice(0, 12), slice(3, 7)):
        found = solver.score(train[rows], rows, solved)
        assert torch.allclose(found, wanted[rows], rtol=1e-8, atol=1e-10)


def test_self_inner_products_are_the_diagonal(row) -> None:
    operator = row_operator()
    solver = row.make(0.1)
    found = solver.quadratic(operator, solver.prepare(operator), operator.source, 1)
    g = gradients_of(operator).dense()
    inverse = row.inverse(g, operator.scale, 0.1)
    assert torch.allclose(found, (g @ inverse @ g.T).diagonal(), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1e-8, 1e-20, 1e-150], ids=str)
def test_rows_of_tiny_scale_keep_their_accuracy(row, scale: float) -> None:
    # A sample that is surely right or surely wrong has √(p(1-p)) ≈ 0, but a gradient of its own.
    g, scales = random(12, 20), torch.ones(12, dtype=torch.float64)
    scales[[0, 5]] = scale
    operator = RowOperator.of(Gradients.of_vectors(g), scales)
    solver = row.make(0.1)
    state = solver.prepare(operator)
    kernel = g @ row.inverse(g, scales, 0.1) @ g.T
    found = solver.quadratic(operator, state, operator.source, 1)
    assert torch.allclose(found, kernel.diagonal(), rtol=1e-7), "self-influence lost its digits"
    solved = solver.solve_gradients(operator, state, gradients_of(operator))
    found = solver.score(gradients_of(operator), slice(0, 12), solved)
    assert torch.allclose(found, kernel, rtol=1e-7, atol=1e-9)


def test_the_state_is_made_of_tensors_and_is_not_changed(row) -> None:
    operator = row_operator()
    solver = row.make(0.1)
    state = solver.prepare(operator)
    before = {name: t.clone() for name, t in state.items()}
    rhs = random(3, 20)
    kept = rhs.clone()
    solver.solve(operator, state, rhs)
    solver.solve_gradients(operator, state, Gradients.of_vectors(rhs))
    solver.quadratic(operator, state, operator.source, 1)
    assert all(torch.equal(state[name], t) for name, t in before.items())
    assert torch.equal(rhs, kept), "the right-hand sides were changed"


def test_the_state_depends_neither_on_the_damping_nor_on_right_hand_sides(row) -> None:
    operator, rhs = row_operator(), random(2, 20)
    state, other = (row.make(damping).prepare(operator) for damping in (5.0, 0.1))
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    found = row.make(0.1).solve(operator, state, rhs).value
    assert torch.equal(found, row.make(0.1).solve(operator, other, rhs).value)


def test_squared_norms_are_those_of_the_solutions(row) -> None:
    operator = row_operator()
    solver = row.make(0.1)
    state, train = solver.prepare(operator), gradients_of(operator)
    wanted = solver.solve(operator, state, train.dense()).value.square().sum(1)
    found = solver.quadratic(operator, state, operator.source, 2)
    assert torch.allclose(found, wanted, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-3, 1e-20, 1e-150], ids=str)
def test_squared_norms_of_rows_of_tiny_scale(row, scale: float) -> None:
    g, scales = random(12, 20), torch.ones(12, dtype=torch.float64)
    scales[[0, 5]] = scale
    operator = RowOperator.of(Gradients.of_vectors(g), scales)
    solver = row.make(0.1)
    inverse = row.inverse(g, scales, 0.1)
    found = solver.quadratic(operator, solver.prepare(operator), operator.source, 2)
    assert torch.allclose(found, (g @ inverse).square().sum(1), rtol=1e-5)


def test_float32(row) -> None:
    operator = RowOperator.of(Gradients.of_vectors(random(12, 20).float()), torch.ones(12))
    rhs = random(2, 20).float()
    solver = row.make(1.0)
    solution = solver.solve(operator, solver.prepare(operator), rhs)
    wanted = rhs.double() @ row.inverse(
        gradients_of(operator).dense().double(), operator.scale, 1.0
    )
    assert solution.value.dtype == torch.float32
    assert torch.allclose(solution.value.double(), wanted, rtol=1e-3, atol=1e-5)


def test_a_wrong_number_of_columns_is_refused(row) -> None:
    operator = row_operator()
    solver = row.make(0.1)
    state = solver.prepare(operator)
    with pytest.raises(ValueError, match=r"must have shape \(any, 20\), got \(2, 7\)"):
        solver.solve(operator, state, torch.zeros(2, 7, dtype=torch.float64))


def test_a_negative_damping_is_refused(row) -> None:
    with pytest.raises(ValueError, match=r"damping must be >=? 0, got -1"):
        row.make(-1.0)
    with pytest.raises(ValueError, match=r"damping must be >=? 0, got nan"):
        row.make(float("nan"))
