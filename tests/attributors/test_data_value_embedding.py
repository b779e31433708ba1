"""Data Value Embedding against derivatives taken forward, closed forms, and real retraining."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from headwater.attributors import DataValueEmbedding
from headwater.projections import Rademacher
from headwater.trajectory import Step
from tests import reference
from tests import reference_trajectory as slow
from tests.laws import float64_scores
from tests.problems import PROBLEMS, Logistic, Problem, Ridge, perturbed, split

ROWS = ([0, 3, 5], [1, 2, 8], [3, 5, 7, 8], [4])


def _run(problem: Problem) -> list[Step]:
    """Steps anywhere in the space of parameters: the recursion must not care where they come from."""
    return [
        Step(perturbed(problem.model, seed=t), 0.1 * (t + 1), torch.tensor(rows), 0.02 * t)
        for t, rows in enumerate(ROWS)
    ]


def _dense(problem: Problem, steps: list[Step]) -> list[slow.DenseStep]:
    found = []
    for step in steps:
        model = reference.at(problem.model, step.parameters)
        gradients = reference.per_sample_gradients(model, problem.loss, problem.train)
        rows = range(problem.n) if step.rows is None else step.rows.tolist()
        found.append((gradients, rows, step.learning_rate, step.weight_decay))
    return found


def _fishers(dense: list[slow.DenseStep]) -> list[Tensor]:
    return [reference.fisher(g[list(rows)]) for g, rows, _, _ in dense]


def _test_gradients(problem: Problem) -> Tensor:
    target = problem.target or problem.loss
    return reference.per_sample_gradients(problem.model, target, problem.test)


def _fishers(dense: list[slow.DenseStep]) -> list[Tensor]:
    return [reference.fisher(g[list(rows)]) for g, rows, _, _ in dense]


@pytest.mark.parametrize("rate", [0.01, 0.3, 30.0])
@pytest.mark.parametrize("size", [2, 9])
def test_scores_are_the_derivative_of_the_run_taken_forward(size: int, rate: float) -> None:
    problem = PROBLEMS["mlp"]()
    steps = [dataclasses.replace(step, learning_rate=rate) for step in _run(problem)]
    dense = _dense(problem, steps)
    transitions = [
        slow.forgetting(fisher, rate, decay)
        for fisher, (_, _, rate, decay) in zip(_fishers(dense), dense, strict=True)
    ]
    wanted = slow.carried(dense, transitions) @ _test_gradients(problem).T
    attributor = DataValueEmbedding(problem.task(), steps)
    found = float64_scores(attributor, split(problem.train, size), split(problem.test, 2))
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-13 * rate)
    assert bool((found[6] == 0).all()), "sample 6 is in no batch"
    scores = attributor.cache([problem.train]).attribute([problem.train], [problem.train])
    own = attributor.self_influence([problem.train])
    assert torch.allclose(own, -scores.diagonal(), rtol=1e-5)


def test_steps_that_do_not_overshoot_are_unrolled_as_they_were() -> None:
    problem = PROBLEMS["mlp"]()
    steps = [dataclasses.replace(step, learning_rate=0.05) for step in _run(problem)]
    dense = _dense(problem, steps)
    fishers = _fishers(dense)
    assert max(float(torch.linalg.eigvalsh(fisher).max()) for fisher in fishers) < 19
    wanted = slow.unrolled(dense, fishers) @ _test_gradients(problem).T
    found = float64_scores(
        DataValueEmbedding(problem.task(), steps), [problem.train], [problem.test]
    )
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-14)


def test_steps_that_overshoot_do_not_make_scores_grow() -> None:
    problem = PROBLEMS["mlp"]()
    steps = [dataclasses.replace(step, learning_rate=1e3) for step in _run(problem)] * 10
    dense, test = _dense(problem, steps), _test_gradients(problem)
    attributor = DataValueEmbedding(problem.task(), steps)
    found = float64_scores(attributor, [problem.train], [problem.test])
    largest = max(float(g.norm(dim=1).max()) for g, *_ in dense) * float(test.norm(dim=1).max())
    assert float(found.abs().max()) <= 1e3 * 10 * largest
    explicit = slow.unrolled(dense, _fishers(dense)) @ test.T
    assert float(explicit.abs().max()) > 1e20


def test_one_step_is_the_exact_derivative() -> None:
    # θ_1 = θ_0 - (η/n) Σ w_i ∇ℓ_i(θ_0): without sample i, a linear f moves by exactly its score.
    ridge = Ridge(n=12)
    problem, start = ridge.problem(), torch.zeros(1, 3, dtype=torch.float64)
    gradients = -ridge.y[:, None] * ridge.x
    trained = start - 0.3 * gradients.mean(0)
    task = problem.task(checkpoints=[{"weight": trained}])
    attributor = DataValueEmbedding(task, [Step({"weight": start}, 0.3)])
    found = float64_scores(attributor, [problem.train], [problem.test])
    without = [trained + 0.3 * gradients[i] / 12 for i in range(12)]
    wanted = torch.stack([ridge.x_test @ (trained - w)[0] for w in without])
    assert torch.allclose(found, wanted, rtol=1e-12)


def _descend(
    logistic: Logistic, included: Tensor, batches: list[Tensor], rate: float
) -> list[Tensor]:
    """Plain SGD from zero with a weight a sample, θ before every step and at the end."""
    path = [torch.zeros_like(logistic.weight)]
    for rows in batches:
        mean = (included[rows] @ logistic.gradients(path[-1])[rows]) / len(rows)
        path.append(path[-1] - rate * (mean.view_as(path[-1]) + logistic.l2 * path[-1]))
    return path


def _correlation(found: Tensor, truth: Tensor) -> float:
    a, b = found - found.mean(0), truth - truth.mean(0)
    return float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).mean())


def test_scores_have_sign_and_order_of_retraining_without_a_sample() -> None:
    logistic, rate, n = Logistic(n=40, d=6), 0.3, 40
    problem = logistic.problem()
    generator = torch.Generator().manual_seed(0)
    batches = [b for _ in range(6) for b in torch.randperm(n, generator=generator).split(8)]
    everything = torch.ones(n, dtype=torch.float64)
    path = _descend(logistic, everything, batches, rate)
    effects = []
    for i in range(n):
        included = everything.clone()
        included[i] = 0.0
        without = _descend(logistic, included, batches, rate)[-1]
        effects.append(logistic.margins(path[-1]) - logistic.margins(without))
    truth = torch.stack(effects)
    steps = [
        Step({"weight": w}, rate, rows, logistic.l2)
        for w, rows in zip(path[:-1], batches, strict=True)
    ]
    task = problem.task(checkpoints=[{"weight": path[-1]}])
    found = float64_scores(DataValueEmbedding(task, steps), [problem.train], [problem.test])
    assert _correlation(found, truth) > 0.95
    slope = float((found * truth).sum() / truth.square().sum())
    assert slope == pytest.approx(1.0, abs=0.2), f"{slope:.3f} × f(with) - f(without)"


def test_on_ridge_the_fisher_stands_for_the_hessian_where_residuals_have_unit_size() -> None:
    # H = XᵀX/n, the Fisher is Σ r_i² x_i x_iᵀ / n: the same in expectation where E r² = 1, no more.
    ridge = Ridge(n=400, seed=2)
    residuals = ridge.x @ ridge.weight - ridge.y
    ridge.y = ridge.x @ ridge.weight - residuals / residuals.square().mean().sqrt()
    ridge.weight = ridge.fit(torch.ones(400, dtype=torch.float64))
    problem, rate, count = ridge.problem(), 0.2, 12
    steps = [Step({"weight": ridge.weight[None]}, rate) for _ in range(count)]
    attributor = DataValueEmbedding(problem.task(), steps)
    found = float64_scores(attributor, [problem.train], [problem.test])
    # With the true Hessian: -(1/n) x_jᵀ (I - (I - ηH)^T) H^-1 ∇ℓ_i.
    hessian, eye = ridge.hessian(), torch.eye(3, dtype=torch.float64)
    left = eye - torch.linalg.matrix_power(eye - rate * hessian, count)
    wanted = -(ridge.gradients() @ torch.linalg.solve(hessian, left) @ ridge.x_test.T) / 400
    assert _correlation(found, wanted) > 0.98
    slope = float((found * wanted).sum() / wanted.square().sum())
    assert slope == pytest.approx(1.0, abs=0.1)


# Projections -----------------------------------------------------------------------------------


def test_embeddings_equal_the_replay_of_projected_gradients() -> None:
    problem, projection = PROBLEMS["mlp"](), Rademacher(7, seed=1)
    steps = _run(problem)
    test = _test_gradients(problem)
    matrix = reference.projection_matrix(projection, test.shape[1])
    dense = [(g @ matrix.T, *rest) for g, *rest in _dense(problem, steps)]
    wanted = slow.data_values(dense, test @ matrix.T)
    attributor = DataValueEmbedding(problem.task(), steps, projection)
    found = float64_scores(attributor, split(problem.train, 4), [problem.test])
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-13)


def test_new_test_samples_do_not_follow_the_run_again() -> None:
    problem = PROBLEMS["mlp"]()
    steps = _run(problem)
    attributor = DataValueEmbedding(problem.task(), steps, Rademacher(7)).cache([problem.train])
    steps.clear()
    assert bool(attributor.attribute([problem.train], [problem.test]).any())
    assert bool(attributor.self_influence([problem.train]).any())


# What it refuses -------------------------------------------------------------------------------


def test_what_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    state, train = problem.model.state_dict(), [problem.train]
    with pytest.raises(ValueError, match="follows one run to its end, got 2 checkpoints"):
        DataValueEmbedding(problem.task(checkpoints=[state, state]), [Step(state, 0.1)])
    with pytest.raises(ValueError, match="steps must hold the steps of the run, got none"):
        DataValueEmbedding(problem.task(), [])
    outside = [Step(state, 0.1, torch.tensor([2, 9]))]
    with pytest.raises(ValueError, match=r"must lie in 0..8, the training data, got 2..9"):
        DataValueEmbedding(problem.task(), outside).cache(train)
    with pytest.raises(ValueError, match="must have the model's state_dict keys"):
        DataValueEmbedding(problem.task(), [Step({}, 0.1)], Rademacher(3)).cache(train)
    with pytest.raises(ValueError, match="learning_rate must be > 0, got 0"):
        Step(state, 0.0)
    with pytest.raises(ValueError, match=r"rows must be the places of at least one sample"):
        Step(state, 0.1, torch.tensor([0.5]))


def test_gradients_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Memory:
        available = 1000

    problem = PROBLEMS["mlp"]()
    attributor = DataValueEmbedding(problem.task(), _run(problem)).cache([problem.train])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(MemoryError, match=r"5 test gradients of 85 numbers needs .* a projection"):
        attributor.attribute([problem.train], [problem.test])
