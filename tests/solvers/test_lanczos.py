"""Lanczos: a real eigenbasis, no direction lost, no NaN from negative curvature."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.solvers import Lanczos, krylov_basis
from tests import reference
from tests.systems import Matrix, random


def _symmetric(eigenvalues: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a matrix with these eigenvalues, and its eigenvectors as columns."""
    size = len(eigenvalues)
    q = torch.linalg.qr(random(size, size, seed=seed))[0]
    return q @ torch.diag(eigenvalues) @ q.T, q


def test_the_whole_space_gives_the_whole_spectrum() -> None:
    wanted = torch.linspace(0.1, 5.0, 30, dtype=torch.float64)
    matrix, _ = _symmetric(wanted)
    values, vectors = krylov_basis(Matrix(matrix), rank=30)
    assert torch.allclose(values, wanted.flip(0), rtol=1e-10)
    assert torch.allclose(vectors @ vectors.T, torch.eye(30, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(vectors @ matrix, values[:, None] * vectors, atol=1e-10)


@pytest.mark.parametrize("rank", [1, 2, 5, 11])
def test_a_krylov_space_is_that_of_the_slow_twin(rank: int) -> None:
    root = random(12, 12)
    matrix = root @ root.T
    values, vectors = krylov_basis(Matrix(matrix), rank, seed=3)
    slow_values, slow_vectors = reference.krylov(matrix, rank, seed=3)
    assert torch.allclose(values, slow_values, rtol=1e-9)
    assert torch.allclose(vectors.T @ vectors, slow_vectors.T @ slow_vectors, atol=1e-8)


def test_repeated_eigenvalues_and_a_null_space_are_found() -> None:
    # The Krylov space of one vector ends after three steps here: 4, 1 and 0.
    matrix, q = _symmetric(torch.tensor([4.0, 4.0, 1.0, 1.0, 1.0] + [0.0] * 40).double())
    operator = Matrix(matrix)
    values, vectors = krylov_basis(operator, rank=45)
    assert torch.allclose(values, torch.tensor([4.0, 4.0, 1.0, 1.0, 1.0]).double(), rtol=1e-10)
    assert torch.allclose(vectors.T @ vectors, q[:, :5] @ q[:, :5].T, atol=1e-10)
    assert operator.products < 15, "products are wasted on the null space"


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_matrix_of_zeros_leaves_the_damping_alone(size: int) -> None:
    operator = Matrix(torch.zeros(size, size, dtype=torch.float64))
    solver, rhs = Lanczos(damping=0.5, rank=3), random(2, size)
    state = solver.prepare(operator)
    assert state["vectors"].shape == (0, size)
    assert torch.allclose(solver.solve(operator, state, rhs).value, 2 * rhs)


def test_lanczos_leaves_negative_curvature_out(caplog: pytest.LogCaptureFixture) -> None:
    # dattri's Arnoldi keeps it, and √λ of the projection becomes NaN (D5).
    eigenvalues = torch.tensor([3.0, 1.0, 0.2, -0.5, -2.0], dtype=torch.float64)
    matrix, q = _symmetric(eigenvalues)
    operator, rhs = Matrix(matrix), random(4, 5, seed=1)
    values, _ = krylov_basis(operator, rank=5)
    assert bool((values > 0).all())
    assert bool(torch.isfinite(values.rsqrt()).all())
    assert "2 of 5 directions have negative curvature (down to -2)" in caplog.text
    for damping in (0.1, 0.5, 2.0):  # 0.5 and 2 are minus an eigenvalue: C + λI is singular
        solver = Lanczos(damping, rank=5)
        found = solver.solve(operator, solver.prepare(operator), rhs).value
        positive = q @ torch.diag(eigenvalues.clamp_min(0)) @ q.T
        assert torch.allclose(found, rhs @ reference.damped_inverse(positive, damping), rtol=1e-8)


def test_what_lies_outside_the_krylov_space_is_not_lost() -> None:
    matrix, _ = _symmetric(
        torch.cat([torch.tensor([50.0, 20.0]), torch.full((28,), 1e-3)]).double()
    )
    operator, rhs = Matrix(matrix), random(3, 30, seed=1)
    wanted = rhs @ reference.damped_inverse(matrix, 1.0)
    state = Lanczos(1.0, rank=6).prepare(operator)
    solution = Lanczos(1.0, rank=6).solve(operator, state, rhs)
    assert torch.allclose(solution.value, wanted, rtol=1e-2, atol=2e-3)
    bare = Lanczos(1.0, rank=6, residual=False).solve(operator, state, rhs)
    projector = state["vectors"].T @ state["vectors"]
    assert torch.allclose(bare.value, solution.value @ projector, atol=1e-10)
    assert float((bare.value - wanted).norm() / wanted.norm()) > 0.5


def test_the_global_generator_is_left_alone() -> None:
    operator, before = Matrix(torch.eye(6, dtype=torch.float64)), torch.get_rng_state()
    first = krylov_basis(operator, rank=2, seed=1)[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, krylov_basis(operator, rank=2, seed=1)[1])
    assert not torch.equal(first, krylov_basis(operator, rank=2, seed=2)[1])


def test_products_that_are_not_finite_are_refused() -> None:
    operator = Matrix(torch.full((3, 3), torch.nan, dtype=torch.float64))
    with pytest.raises(
        ValueError,
        match=r"products with the curvature must be finite, got NaN .* in number 1 of a Krylov space",
    ):
        krylov_basis(operator, rank=2)


@pytest.mark.parametrize(
    "arguments", [{"damping": 0.0, "rank": 3}, {"damping": 1.0, "rank": 0}], ids=str
)
def test_lanczos_refuses_arguments_out_of_range(arguments) -> None:
    with pytest.raises(ValueError, match="must be > 0, got 0"):
        Lanczos(**arguments)


def test_without_the_residual_term_no_damping_is_needed() -> None:
    operator = Matrix(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    solver = Lanczos(damping=0.0, rank=2, residual=False)
    found = solver.solve(operator, solver.prepare(operator), torch.ones(1, 2).double()).value
    assert torch.allclose(found, torch.tensor([[1.0, 0.25]]).double())
