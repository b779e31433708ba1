"""Many dampings from one Krylov space: the same solutions, steps and residuals as one by one."""

from __future__ import annotations

import pytest
import torch

from headwater.solvers import ConjugateGradient, Lanczos
from tests import reference
from tests.systems import Matrix, random, row_operator

DAMPINGS = [1e-2, 10.0, 0.3, 1.0, 1e-1]


def _spd(size: int = 40) -> torch.Tensor:
    root = random(size, size)
    return root @ root.T / size


@pytest.mark.parametrize("iterations", [1, 2, 5, 17])
def test_all_dampings_agree_with_separate_solutions(iterations: int) -> None:
    operator, rhs = Matrix(_spd()), random(6, 40, seed=1)
    rhs[2] = 0.0
    rhs[3] *= 1e8
    cg = ConjugateGradient(0.0, max_iterations=iterations, tolerance=1e-3)
    found = cg.solve_dampings(operator, rhs, DAMPINGS)
    for damping, solution in zip(DAMPINGS, found, strict=True):
        alone = ConjugateGradient(damping, iterations, tolerance=1e-3).solve(operator, {}, rhs)
        assert torch.allclose(solution.value, alone.value, rtol=1e-8, atol=1e-10)
        assert torch.allclose(solution.residual, alone.residual, rtol=1e-6, atol=1e-12)
        assert torch.equal(solution.steps, alone.steps)
        assert torch.equal(solution.converged, alone.converged)


def test_all_dampings_are_exact_in_the_end() -> None:
    operator, rhs = Matrix(_spd()), random(4, 40, seed=1)
    cg = ConjugateGradient(0.0, max_iterations=200, tolerance=1e-12)
    for damping, solution in zip(DAMPINGS, cg.solve_dampings(operator, rhs, DAMPINGS), strict=True):
        wanted = rhs @ reference.damped_inverse(operator.matrix, damping)
        assert torch.allclose(solution.value, wanted, rtol=1e-8, atol=1e-9)
        assert bool(solution.converged.all())


def test_all_dampings_cost_the_products_of_one() -> None:
    one, all_of_them, rhs = Matrix(_spd()), Matrix(_spd()), random(4, 40, seed=1)
    cg = ConjugateGradient(1e-2, max_iterations=200, tolerance=1e-8)
    cg.solve(one, {}, rhs)
    cg.solve_dampings(all_of_them, rhs, DAMPINGS)
    assert all_of_them.products == one.products


def test_long_after_convergence_nothing_is_divided_by_zero() -> None:
    operator = Matrix(torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)))
    cg = ConjugateGradient(0.0, max_iterations=300, tolerance=0.0)
    for solution in cg.solve_dampings(operator, torch.eye(3, dtype=torch.float64), [0.0, 1e6]):
        assert bool(torch.isfinite(solution.value).all())
        assert float(solution.residual.max()) < 1e-12


def test_a_damping_that_is_too_small_does_not_spoil_the_others() -> None:
    operator = Matrix(torch.diag(torch.tensor([1.0, -2.0, 3.0, -0.2], dtype=torch.float64)))
    rhs = torch.cat([random(3, 4), torch.tensor([[1.0, 0.0, 1.0, 0.0]], dtype=torch.float64)])
    cg = ConjugateGradient(0.0, max_iterations=50, tolerance=1e-10)
    dampings = [0.1, 2.5, 0.5, 9.0]
    found = cg.solve_dampings(operator, rhs, dampings)
    for damping, solution in zip(dampings, found, strict=True):
        alone = ConjugateGradient(damping, 50, 1e-10).solve(operator, {}, rhs)
        assert torch.allclose(solution.value, alone.value, rtol=1e-7, atol=1e-9), damping
        assert torch.equal(solution.converged, alone.converged)
    assert [bool(s.converged.all()) for s in found] == [False, True, False, True]
    assert bool(found[0].converged[3]), "a row that never sees the negative directions"


def test_the_order_and_number_of_the_dampings_do_not_matter() -> None:
    operator, rhs = row_operator(), random(3, 20)
    cg = ConjugateGradient(0.0, max_iterations=6, tolerance=0.0)
    both = cg.solve_dampings(operator, rhs, [2.0, 0.5])
    turned = cg.solve_dampings(operator, rhs, [0.5, 2.0, 2.0])
    assert torch.equal(both[0].value, turned[1].value)
    assert torch.equal(both[1].value, turned[0].value)
    assert torch.equal(turned[1].value, turned[2].value)
    assert cg.solve_dampings(operator, rhs, []) == []


def test_what_many_dampings_refuse() -> None:
    operator, rhs = row_operator(), random(3, 20)
    with pytest.raises(ValueError, match="damping must be >= 0, got -1"):
        ConjugateGradient(0.0).solve_dampings(operator, rhs, [1.0, -1.0])
    with pytest.raises(ValueError, match="needs plain conjugate gradients"):
        ConjugateGradient(0.0, preconditioner=Lanczos(1.0, 3)).solve_dampings(operator, rhs, [1.0])
    with pytest.raises(ValueError, match=r"must have shape \(any, 20\)"):
        ConjugateGradient(0.0).solve_dampings(operator, rhs[:, 1:], [1.0])
