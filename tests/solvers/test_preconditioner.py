"""Conjugate gradients with another solver as preconditioner: the same answer, sooner."""

from __future__ import annotations

import torch

from headwater.solvers import ConjugateGradient, Lanczos
from tests import reference
from tests.systems import Matrix, random, row_operator


def _spiked() -> Matrix:
    """Return a matrix with ten large eigenvalues over a flat bulk."""
    spectrum = torch.cat([torch.logspace(1, 4, 10), torch.linspace(0.0, 0.1, 90)]).double()
    q = torch.linalg.qr(random(100, 100))[0]
    return Matrix(q @ torch.diag(spectrum) @ q.T)


def test_a_low_rank_preconditioner_saves_steps_and_changes_no_answer() -> None:
    operator, rhs = _spiked(), random(5, 100, seed=1)
    wanted = rhs @ reference.damped_inverse(operator.matrix, 0.1)
    steps = []
    for preconditioner in (None, Lanczos(damping=0.1, rank=30)):
        cg = ConjugateGradient(0.1, 300, 1e-10, preconditioner=preconditioner)
        solution = cg.solve(operator, cg.prepare(operator), rhs)
        assert bool(solution.converged.all())
        assert torch.allclose(solution.value, wanted, rtol=1e-5, atol=1e-7)
        left = operator.apply(solution.value) + 0.1 * solution.value - rhs
        assert float((left.norm(dim=1) / rhs.norm(dim=1)).max()) < 1e-9
        steps.append(int(solution.steps.max()))
    assert steps[1] < 0.6 * steps[0], f"{steps[1]} steps with, {steps[0]} without"


def test_an_exact_preconditioner_needs_one_step() -> None:
    operator, rhs = row_operator(), random(3, 20)
    cg = ConjugateGradient(0.3, 50, 1e-9, preconditioner=Lanczos(damping=0.3, rank=20))
    solution = cg.solve(operator, cg.prepare(operator), rhs)
    assert solution.steps.tolist() == [1, 1, 1]
    wanted = rhs @ reference.damped_inverse(operator.dense(), 0.3)
    assert torch.allclose(solution.value, wanted, rtol=1e-7)


def test_the_damping_of_the_preconditioner_is_its_own() -> None:
    operator, rhs = row_operator(), random(3, 20)
    solver = ConjugateGradient(0.3, 200, 1e-12, preconditioner=Lanczos(damping=5.0, rank=4))
    state = solver.prepare(operator)
    other = ConjugateGradient(9.0, preconditioner=Lanczos(damping=1.0, rank=4)).prepare(operator)
    assert all(torch.equal(state[name], other[name]) for name in state)
    found = solver.solve(operator, state, rhs).value
    wanted = rhs @ reference.damped_inverse(operator.dense(), 0.3)
    assert torch.allclose(found, wanted, rtol=1e-8)


def test_a_preconditioner_that_is_not_positive_stops_its_rows_unconverged() -> None:
    # Without the residual term M is singular: a right-hand side outside of it cannot be started.
    operator = Matrix(torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)))
    state = {
        "eigenvalues": torch.tensor([4.0]).double(),
        "vectors": torch.tensor([[1.0, 0.0]]).double(),
    }
    low = Lanczos(damping=0.1, rank=1, residual=False)
    solver = ConjugateGradient(0.1, 20, preconditioner=low)
    solution = solver.solve(operator, state, torch.eye(2, dtype=torch.float64))
    assert solution.converged.tolist() == [True, False]
    assert solution.residual.tolist()[1] == 1.0
    assert bool(torch.isfinite(solution.value).all())


def test_zero_right_hand_sides_stay_zero() -> None:
    operator = row_operator()
    solver = ConjugateGradient(0.3, 20, preconditioner=Lanczos(damping=0.3, rank=4))
    solution = solver.solve(operator, solver.prepare(operator), torch.zeros(2, 20).double())
    assert float(solution.value.abs().max()) == 0.0
    assert bool(solution.converged.all())
