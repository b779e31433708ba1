"""Blocks of right-hand sides: how many share one changes no solution."""

from __future__ import annotations

import pytest
import torch

from headwater.gradients import DenseGradients
from headwater.solvers import ConjugateGradient, Lanczos, LiSSA, Solver, blocks
from headwater.solvers import conjugate_gradient as cg_module
from headwater.solvers import lissa as lissa_module
from tests.systems import Matrix, random, row_operator

SOLVERS: dict[str, Solver] = {
    "cg": ConjugateGradient(0.1, max_iterations=5, tolerance=1e-3),
    "preconditioned": ConjugateGradient(
        0.1, max_iterations=5, tolerance=1e-3, preconditioner=Lanczos(0.1, rank=3)
    ),
    "lissa": LiSSA(0.1, 60.0, depth=5, batch_size=4),
}


@pytest.mark.parametrize("rows", [1, 3, 6])
@pytest.mark.parametrize("name", SOLVERS)
def test_the_size_of_a_block_changes_nothing(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, rhs, solver = row_operator(), random(7, 20, seed=2), SOLVERS[name]
    rhs[3] = 0.0  # a row that is solved from the start
    state = solver.prepare(operator)
    wanted = solver.solve(operator, state, rhs)
    for module in (cg_module, lissa_module):
        monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(blocks, "NUMBERS", 1)
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
    monkeypatch.setattr(cg_module, "ROWS", rows)
    monkeypatch.setattr(blocks, "NUMBERS", 1)
    found = ConjugateGradient(0.0, max_iterations=9).solve(Matrix(matrix), {}, rhs)
    assert found.converged.tolist() == [True, False, True]
    assert found.steps.tolist() == [2, 0, 2]
    assert torch.allclose(found.value[[0, 2]], rhs[[0, 2]] @ torch.linalg.inv(matrix))


def test_blocks_cover_all_rows_once() -> None:
    for count, width, numbers, least in (
        (0, 3, 9, 1),
        (10, 3, 9, 1),
        (10, 100, 9, 4),
        (3, 0, 9, 1),
    ):
        found = [
            i for s in blocks.row_blocks(count, width, numbers, least) for i in range(count)[s]
        ]
        assert found == list(range(count))


@pytest.mark.parametrize("residual", [True, False])
def test_lanczos_scores_in_its_space_are_those_of_its_solutions(residual: bool) -> None:
    operator = row_operator()
    solver = Lanczos(0.1, rank=4, residual=residual)
    state = solver.prepare(operator)
    train, test = DenseGradients(random(6, 20, seed=3)), DenseGradients(random(5, 20, seed=4))
    solved = solver.precondition(operator, state, test)
    found = solver.inner(train, slice(0, 6), torch.ones(6), solved)
    wanted = train.vectors @ solver.solve(operator, state, test.vectors).value.T
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
