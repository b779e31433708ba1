"""What solvers of other libraries are known to get wrong, one test each; more are beside each solver."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwater import AttributionTask
from headwater.curvature import Hessian
from headwater.solvers import ConjugateGradient, Explicit, Lanczos, LiSSA, Solver
from tests import reference
from tests.problems import PROBLEMS, randomised, split
from tests.systems import Matrix, random

SOLVERS: dict[str, Solver] = {
    "explicit": Explicit(2.0),
    "CG": ConjugateGradient(2.0, max_iterations=100, tolerance=1e-12),
    "LiSSA": LiSSA(2.0, depth=60, batch_size=9),
    "Lanczos": Lanczos(2.0, rank=100),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_the_inverse_is_not_a_sum_of_inverses_over_batches(name: str) -> None:
    problem, solver = PROBLEMS["logistic"](), SOLVERS[name]
    task = problem.task()
    rhs = random(2, task.layout.size)
    matrix = reference.hessian(problem.model, problem.loss, problem.train)
    wanted = rhs @ reference.damped_inverse(matrix, 2.0)
    for size in (1, 4, 9):
        operator = Hessian(task.bind(), task.loss, split(problem.train, size))
        found = solver.solve(operator, solver.prepare(operator), rhs).value
        assert torch.allclose(found, wanted, rtol=1e-7, atol=1e-9), f"batches of {size}"


def test_cg_does_not_go_on_after_convergence() -> None:
    operator = Matrix(torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)))
    cg = ConjugateGradient(0.0, max_iterations=1000, tolerance=1e-8)
    solution = cg.solve(operator, {}, torch.ones(2, 3, dtype=torch.float64))
    assert operator.products == 6, "three products a row, one for each eigenvalue"
    assert solution.steps.tolist() == [3, 3]
    assert bool(torch.isfinite(solution.value).all())


@pytest.mark.parametrize("name", SOLVERS)
def test_dict_batches_of_integer_tokens(name: str) -> None:
    # Token numbers and labels must stay integers, and a dict must not be unpacked into its keys.
    model = randomised(
        nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), nn.Linear(4, 3)).double(), seed=1
    )

    def loss(model, batch):
        return F.cross_entropy(model(batch["tokens"]), batch["label"], reduction="none")

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (9, 2), generator=generator)
    label = torch.randint(3, (9,), generator=generator)
    task = AttributionTask(model, loss)
    batches = [
        {"tokens": tokens[rows], "label": label[rows]} for rows in (slice(0, 5), slice(5, 9))
    ]
    operator = Hessian(task.bind(), loss, batches)
    solver, rhs = SOLVERS[name], random(1, task.layout.size)
    found = solver.solve(operator, solver.prepare(operator), rhs).value
    matrix = reference.hessian(
        model, lambda m, b: loss(m, dict(zip(("tokens", "label"), b, strict=True))), (tokens, label)
    )
    if name == "Lanczos":  # treats negative curvature as none
        values, vectors = torch.linalg.eigh(matrix)
        matrix = vectors @ torch.diag(values.clamp_min(0)) @ vectors.T
    assert torch.allclose(found, rhs @ reference.damped_inverse(matrix, 2.0), rtol=1e-6, atol=1e-8)


def test_lissa_of_some_integer_samples_of_a_dict() -> None:
    batches = [{"tokens": torch.arange(8).view(4, 2), "name": "kept"}] * 2
    seen = []

    def loss(model, batch):
        seen.append((batch["tokens"].dtype, batch["name"], len(batch["tokens"])))
        return model(batch["tokens"]).square().sum((1, 2))

    task = AttributionTask(nn.Embedding(8, 1).double(), loss)
    operator = Hessian(task.bind(), loss, batches)
    LiSSA(0.1, 20.0, depth=3, batch_size=5).solve(operator, {}, random(1, 8))
    assert set(seen) == {(torch.int64, "kept", size) for size in (4, 5, 8)}
