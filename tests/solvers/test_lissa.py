"""LiSSA: the stated recursion, seeded and shared mini-batches, an honest residual, no silent blow-up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.curvature import Hessian
from headwater.solvers import LiSSA
from tests import reference
from tests.problems import PROBLEMS, split
from tests.systems import Matrix, gradients_of, random, row_operator


def _batches(n: int, size: int, steps: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator)[:size].sort().values for _ in range(steps)]


@pytest.mark.parametrize("batch_size", [3, 12, 100])
@pytest.mark.parametrize("repeats", [1, 3])
def test_lissa_is_its_recursion(batch_size: int, repeats: int) -> None:
    # dattri swaps the two numbers of this test (D8).
    operator, b = row_operator(), random(20, seed=2)
    rows = gradients_of(operator).dense() * operator.scale[:, None]
    drawn = iter(_batches(12, min(batch_size, 12), 5 * repeats, seed=7))
    wanted = torch.zeros(20, dtype=torch.float64)
    for _ in range(repeats):
        x = b
        for _ in range(5):
            batch = rows[next(drawn)]
            x = b + x - (reference.fisher(batch) @ x + 0.1 * x) / 60.0
        wanted = wanted + x / 60.0 / repeats
    solver = LiSSA(0.1, 60.0, depth=5, batch_size=batch_size, repeats=repeats, seed=7)
    found = solver.solve(operator, {}, b[None]).value[0]
    assert torch.allclose(found, wanted, rtol=1e-12)


def test_all_right_hand_sides_share_the_mini_batches() -> None:
    operator, rhs = row_operator(), random(4, 20, seed=2)
    solver = LiSSA(0.1, 60.0, depth=20, batch_size=3)
    together = solver.solve(operator, {}, rhs).value
    alone = torch.cat([solver.solve(operator, {}, b[None]).value for b in rhs])
    assert torch.allclose(together, alone, rtol=1e-10)


def test_lissa_is_seeded_and_leaves_the_global_generator_alone() -> None:
    # dattri's depends on the global generator, and changes at each call (D9).
    operator, rhs, before = row_operator(), random(1, 20), torch.get_rng_state()
    solve = lambda seed: LiSSA(0.1, depth=20, batch_size=3, seed=seed)  # noqa: E731
    first, again, other = (
        solve(seed).solve(operator, solve(seed).prepare(operator), rhs).value for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_the_choice_of_samples_does_not_depend_on_the_batches() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    rhs = random(2, task.layout.size)
    solver = LiSSA(3.0, depth=5, batch_size=4)
    found = []
    for size in (1, 4, 9):
        operator = Hessian(task.bind(), task.loss, split(problem.train, size))
        found.append(solver.solve(operator, solver.prepare(operator), rhs).value)
    assert torch.allclose(found[0], found[1], rtol=1e-10)
    assert torch.allclose(found[0], found[2], rtol=1e-10)


def test_lissa_on_mini_batches_comes_near_the_inverse() -> None:
    operator, rhs = row_operator(n=60, p=10), random(3, 10, seed=2)
    solver = LiSSA(0.5, depth=400, batch_size=20, repeats=20)
    solution = solver.solve(operator, solver.prepare(operator), rhs)
    wanted = rhs @ reference.damped_inverse(operator.dense(), 0.5)
    assert float((solution.value - wanted).norm() / wanted.norm()) < 0.1
    left = (operator.apply(solution.value) + 0.5 * solution.value - rhs).norm(dim=1)
    assert torch.allclose(solution.residual, left / rhs.norm(dim=1), rtol=1e-8)
    assert not bool(solution.converged.any()), "a residual of some per cent is not convergence"


@pytest.mark.parametrize("depth", [1, 10, 500])
def test_stopping_early_is_a_hidden_damping(depth: int) -> None:
    # Σ_{t≤J} (1 - μ/s)^t / s = (1 - (1 - μ/s)^(J+1)) / μ, and (J+1)/s where μ = 0.
    operator = row_operator(n=2, p=5)
    flat = torch.linalg.svd(gradients_of(operator).dense())[2][2:]
    found = LiSSA(0.0, 50.0, depth=depth, batch_size=2).solve(operator, {}, flat).value
    assert torch.allclose(found, flat * (depth + 1) / 50.0, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 0.5])
def test_lissa_that_diverges_is_named(scale: float) -> None:
    operator, rhs = row_operator(), random(3, 20)
    with pytest.raises(
        ValueError, match=r"right-hand side 0 grew .* raise scale above the largest"
    ):
        LiSSA(0.1, scale, depth=2000, batch_size=12).solve(operator, {}, rhs)


def test_the_estimated_scale_is_safe() -> None:
    for seed in range(5):
        operator = row_operator(n=40, p=15)
        solver = LiSSA(0.0, depth=300, batch_size=2, seed=seed)
        largest = float(solver.prepare(operator)["largest"])
        assert largest > 0.9 * float(torch.linalg.eigvalsh(operator.dense()).max())
        solver.solve(operator, solver.prepare(operator), random(1, 15))


def test_no_curvature_and_no_damping_does_not_divide_by_zero() -> None:
    operator = row_operator().on(torch.tensor([0]))
    operator.scale.zero_()
    solver = LiSSA(0.0, depth=3, batch_size=5)
    found = solver.solve(operator, solver.prepare(operator), random(1, 20)).value
    assert torch.allclose(found, 4 * random(1, 20))


def test_lissa_refuses_an_operator_that_is_no_mean_over_samples() -> None:
    operator = Matrix(torch.eye(3, dtype=torch.float64))
    with pytest.raises(TypeError, match="that is a SampleOperator, got Matrix; use Explicit"):
        LiSSA(0.1, 2.0).prepare(operator)


@pytest.mark.parametrize("name", ["scale", "depth", "batch_size", "repeats"])
def test_lissa_refuses_arguments_out_of_range(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be > 0, got 0"):
        LiSSA(**{"damping": 0.1, name: 0})
