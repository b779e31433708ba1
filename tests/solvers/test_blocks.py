"""Blocks of right-hand sides and of training gradients: how large they are changes no solution."""

from __future__ import annotations

import pytest
import torch

from headwater import memory
from headwater.curvature import RowOperator
from headwater.gradients import Gradients
from headwater.solvers import ConjugateGradient, DataInf, Explicit, Lanczos, LiSSA, Solver, Woodbury
from headwater.solvers import conjugate_gradient as cg_module
from headwater.solvers import lissa as lissa_module
from tests.systems import Matrix, gradients_of, in_blocks, random, row_operator

ITERATIVE: dict[str, Solver] = {
    "cg": ConjugateGradient(0.1, max_iterations=5, tolerance=1e-3),
    "preconditioned": ConjugateGradient(
        0.1, max_iterations=5, tolerance=1e-3, preconditioner=Lanczos(0.1, rank=3)
    ),
    "lissa": LiSSA(0.1, 60.0, depth=5, batch_size=4),
}
EVERY: dict[str, Solver] = {
    **ITERATIVE,
    "explicit": Explicit(0.1),
    "explicit in blocks": Explicit(0.1, blocks=3),
    "woodbury": Woodbury(0.1),
    "data inf": DataInf(0.1),
    "lanczos": Lanczos(0.1, rank=4),
    "lanczos without the rest": Lanczos(0.1, rank=4, residual=False),
}


def _rows_at_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let blocks of right-hand sides between two products have as many rows."""
    for module in (cg_module, lissa_module):
        monkeypatch.setattr(
            module,
            "row_blocks",
            lambda count, *_, **__: [slice(i, min(count, i + rows)) for i in range(0, count, rows)],
        )


@pytest.mark.parametrize("rows", [1, 3, 6])
@pytest.mark.parametrize("name", ITERATIVE)
def test_the_size_of_a_block_changes_nothing(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, rhs, solver = row_operator(), random(7, 20, seed=2), ITERATIVE[name]
    rhs[3] = 0.0  # a row that is solved from the start
    state = solver.prepare(operator)
    wanted = solver.solve(operator, state, rhs)
    _rows_at_once(rows, monkeypatch)
    found = solver.solve(operator, state, rhs)
    assert torch.allclose(found.value, wanted.value, rtol=1e-10, atol=1e-12)
    assert torch.equal(found.steps, wanted.steps)
    assert torch.equal(found.converged, wanted.converged)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_a_row_that_meets_negative_curvature_ends_alone(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, -5.0], dtype=torch.float64))
    rhs = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, -1.0, 0.0]]).double()
    _rows_at_once(rows, monkeypatch)
    found = ConjugateGradient(0.0, max_iterations=9).solve(Matrix(matrix), {}, rhs)
    assert found.converged.tolist() == [True, False, True]
    assert found.steps.tolist() == [2, 0, 2]
    assert torch.allclose(found.value[[0, 2]], rhs[[0, 2]] @ torch.linalg.inv(matrix))


@pytest.mark.parametrize("name", EVERY)
def test_scores_do_not_depend_on_memory_nor_on_blocks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, test, solver = row_operator(), Gradients.of_vectors(random(7, 20, seed=3)), EVERY[name]
    state = solver.prepare(whole)
    solved, g = solver.solve_gradients(whole, state, test), gradients_of(whole)
    wanted = solver.score(g, slice(0, 12), solved)
    powers = [solver.quadratic(whole, state, whole.source, power) for power in (1, 2)]
    monkeypatch.setattr(memory, "CACHED", {"cpu": 30, "cuda": 30})
    monkeypatch.setattr(memory, "LARGE", {"cpu": 30, "cuda": 30})
    for size, budget in ((2, 10**9), (3, 1), (3, 6 * 20 * 8)):
        source = in_blocks(g, size)
        parts = RowOperator(source, whole.scale, budget=budget)
        state = solver.prepare(parts)
        solved = solver.solve_gradients(parts, state, test)
        found = solver.score(g[4:9], slice(4, 9), solved)
        assert torch.allclose(found, wanted[4:9], rtol=1e-8, atol=1e-10)
        for power in (1, 2):
            found = solver.quadratic(parts, state, source, power)
            assert torch.allclose(found, powers[power - 1], rtol=1e-8)


@pytest.mark.parametrize("residual", [True, False])
def test_lanczos_scores_in_its_space_are_those_of_its_solutions(residual: bool) -> None:
    operator = row_operator()
    solver = Lanczos(0.1, rank=4, residual=residual)
    state = solver.prepare(operator)
    train, test = (Gradients.of_vectors(random(k, 20, seed=k)) for k in (6, 5))
    solved = solver.solve_gradients(operator, state, test)
    found = solver.score(train, slice(0, 6), solved)
    wanted = train.dense() @ solver.solve(operator, state, test.dense()).value.T
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
