"""Conjugate gradients: the textbook steps, an honest end, and no NaN on any way there."""

from __future__ import annotations

import pytest
import torch

from headwater.curvature import KeptBlocks
from headwater.gradients import Gradients
from headwater.solvers import ConjugateGradient
from tests import reference
from tests.systems import Matrix, random, row_operator


@pytest.mark.parametrize("iterations", [1, 2, 3, 6])
def test_cg_takes_the_textbook_steps(iterations: int) -> None:
    root = random(9, 9)
    matrix, rhs = root @ root.T / 9, random(4, 9, seed=1)
    solver = ConjugateGradient(damping=0.1, max_iterations=iterations, tolerance=0.0)
    found = solver.solve(Matrix(matrix), {}, rhs)
    damped = matrix + 0.1 * torch.eye(9, dtype=torch.float64)
    wanted = torch.stack([reference.conjugate_gradient(damped, b, iterations) for b in rhs])
    assert torch.allclose(found.value, wanted, rtol=1e-8, atol=1e-10)
    assert found.steps.tolist() == [iterations] * 4


def test_cg_stops_at_its_tolerance() -> None:
    root, rhs = random(40, 40), random(5, 40, seed=1)
    matrix = root @ root.T
    steps, products = [], []
    for tolerance in (1e-1, 1e-4, 1e-8):
        operator = Matrix(matrix)
        solver = ConjugateGradient(damping=1.0, max_iterations=500, tolerance=tolerance)
        solution = solver.solve(operator, {}, rhs)
        assert bool(solution.converged.all())
        assert float(solution.residual.max()) <= tolerance
        steps.append(int(solution.steps.sum()))
        products.append(operator.products)
    assert steps == products, "a row that has converged must not be multiplied again"
    assert steps[0] < steps[1] < steps[2], f"the tolerance is ignored: {steps} steps"


def test_cg_stays_finite_long_after_convergence() -> None:
    # dattri's CG ignores its tolerance and divides 0 by 0 once the residual has vanished.
    matrix = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    solver = ConjugateGradient(damping=0.0, max_iterations=300, tolerance=0.0)
    rhs = torch.cat([torch.eye(3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)])
    solution = solver.solve(Matrix(matrix), {}, rhs)
    assert bool(torch.isfinite(solution.value).all())
    assert torch.allclose(solution.value[:3], torch.linalg.inv(matrix), atol=1e-12)
    assert torch.equal(solution.value[3], torch.zeros(3, dtype=torch.float64))
    assert bool(solution.converged.all())


@pytest.mark.parametrize("scale", [1e-160, 1e150])
def test_cg_of_very_small_and_large_right_hand_sides_is_finite(scale: float) -> None:
    rhs = scale * random(2, 20)
    solution = ConjugateGradient(damping=0.1, max_iterations=100).solve(row_operator(), {}, rhs)
    assert bool(torch.isfinite(solution.value).all())


def test_cg_stops_unconverged_on_an_indefinite_matrix() -> None:
    matrix = torch.diag(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    rhs = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    solver = ConjugateGradient(damping=0.5, max_iterations=50)
    solution = solver.solve(Matrix(matrix), {}, rhs)
    assert bool(torch.isfinite(solution.value).all())
    assert solution.converged.tolist() == [False, True], "one bad row must not spoil the other"
    assert float(solution.residual[0]) == pytest.approx(1.0)
    better = ConjugateGradient(damping=2.5, max_iterations=50).solve(Matrix(matrix), {}, rhs)
    assert bool(better.converged.all()), "the damping makes the matrix definite"


def test_cg_that_needs_more_iterations_says_so() -> None:
    root = random(40, 40)
    solver = ConjugateGradient(damping=1e-6, max_iterations=3)
    solution = solver.solve(Matrix(root @ root.T), {}, random(2, 40))
    assert not bool(solution.converged.any())
    assert float(solution.residual.min()) > 1e-6


def test_cg_reports_its_progress() -> None:
    seen = []
    solver = ConjugateGradient(
        damping=0.1, max_iterations=4, tolerance=0.0, progress=lambda *now: seen.append(now)
    )
    solver.solve(row_operator(), {}, random(3, 20))
    assert seen == [(1, 3), (2, 3), (3, 3), (4, 3)]


@pytest.mark.parametrize("arguments", [{"max_iterations": 0}, {"tolerance": -1.0}], ids=str)
def test_cg_refuses_arguments_out_of_range(arguments) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        ConjugateGradient(damping=0.1, **arguments)


def test_solutions_that_did_not_converge_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    operator, test = Matrix(-torch.eye(3, dtype=torch.float64)), Gradients.of_vectors(random(4, 3))
    solver = ConjugateGradient(damping=0.1)
    solved = solver.solve_gradients(operator, {}, test)
    assert not bool(solved["converged"].any())
    solver.quadratic(operator, {}, KeptBlocks((test,)), 1)
    message = "4 of 4 solutions did not converge, worst relative residual 1 after 0 steps"
    assert [message in found for found in caplog.messages] == [True, True]
    caplog.clear()
    ConjugateGradient(damping=2.0).solve_gradients(operator, {}, test)
    assert not caplog.messages
