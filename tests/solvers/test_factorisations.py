"""Explicit and Woodbury: what only solvers that factorise a matrix can get wrong."""

from __future__ import annotations

import psutil
import pytest
import torch

from headwater.curvature import Hessian, MarginGaussNewton, RowOperator
from headwater.gradients import Gradients
from headwater.solvers import Explicit, Woodbury
from tests import reference
from tests.problems import PROBLEMS
from tests.systems import Matrix, random, row_operator


def test_explicit_solves_an_indefinite_system() -> None:
    root = random(6, 6)
    matrix = root + root.T
    rhs = random(2, 6, seed=1)
    solver = Explicit(damping=0.1)
    solution = solver.solve(Matrix(matrix), solver.prepare(Matrix(matrix)), rhs)
    assert torch.allclose(solution.value, rhs @ reference.damped_inverse(matrix, 0.1), rtol=1e-8)


def test_explicit_refuses_a_singular_matrix() -> None:
    operator = Matrix(torch.zeros(3, 3, dtype=torch.float64))
    solver = Explicit(damping=0.0)
    with pytest.raises(
        ValueError,
        match=r"must be positive definite, or .*a singular matrix of size 3 .* damping > 0",
    ):
        solver.solve(operator, solver.prepare(operator), torch.ones(1, 3, dtype=torch.float64))


class _Memory:
    available = 1000


@pytest.mark.parametrize(
    ("solver", "what", "advice"),
    [
        (Explicit(damping=1.0), "explicit curvature of 20 parameters", "use ConjugateGradient"),
        (Woodbury(damping=1.0), "Gram matrix of 12 samples", "use fewer training samples"),
    ],
    ids=["explicit", "woodbury"],
)
def test_a_matrix_that_does_not_fit_is_refused_before_it_is_made(
    solver, what, advice, monkeypatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: _Memory)
    with pytest.raises(MemoryError, match=f"{what} needs .* GiB are free; {advice}"):
        solver.prepare(row_operator())


# Woodbury ---------------------------------------------------------------------------------------


def test_woodbury_refuses_a_hessian() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    operator = Hessian(task.bind(), task.loss, [problem.train])
    with pytest.raises(TypeError, match="that is a RowOperator, got Hessian"):
        Woodbury(damping=0.1).prepare(operator)


def test_woodbury_refuses_no_damping() -> None:
    with pytest.raises(ValueError, match="damping must be > 0, got 0"):
        Woodbury(damping=0.0)


def test_woodbury_of_samples_that_are_surely_wrong() -> None:
    # p = e^-50: the row has almost no curvature, and the largest loss gradient of all.
    margins = torch.tensor([-50.0, 1.0, 60.0], dtype=torch.float64)
    g, scale = random(3, 5), MarginGaussNewton().row_scale(margins)
    operator = RowOperator.of(Gradients.of_vectors(g, margins), scale)
    solver = Woodbury(damping=0.1)
    found = solver.quadratic(operator, solver.prepare(operator), operator.source, 1)
    inverse = reference.damped_inverse(reference.fisher(g, scale), 0.1)
    assert torch.allclose(found, (g @ inverse @ g.T).diagonal(), rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-3, 1e-20, 1e-150, 1e3, 1e5], ids=str)
def test_woodbury_norms_of_rows_of_any_scale(scale: float) -> None:
    g, scales = random(12, 20), torch.ones(12, dtype=torch.float64)
    scales[[0, 5]] = scale
    operator = RowOperator.of(Gradients.of_vectors(g), scales)
    solver = Woodbury(damping=0.1)
    inverse = reference.damped_inverse(reference.fisher(g, scales), 0.1)
    found = solver.quadratic(operator, solver.prepare(operator), operator.source, 2)
    assert torch.allclose(found, (g @ inverse).square().sum(1), rtol=1e-5)
