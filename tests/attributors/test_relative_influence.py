"""RelatIF: every solver normalises, names are checked, and no score is ever 0/0."""

from __future__ import annotations

import pytest
import torch

from headwater import targets
from headwater.attributors import InfluenceFunction, RelatIF
from headwater.curvature import EmpiricalFisher, ExactHessian, MarginGaussNewton
from headwater.solvers import (
    ConjugateGradient,
    DataInf,
    Explicit,
    Lanczos,
    LiSSA,
    Solver,
    Woodbury,
)
from tests import reference
from tests.problems import PROBLEMS, Problem, perturbed

SOLVERS: dict[str, Solver] = {
    "explicit": Explicit(2.0),
    "CG": ConjugateGradient(2.0, max_iterations=100, tolerance=1e-12),
    "LiSSA": LiSSA(2.0, depth=200, batch_size=100),
    "Lanczos": Lanczos(2.0, rank=100),
    "Woodbury": Woodbury(2.0),
    "DataInf": DataInf(2.0),
}


@pytest.fixture
def problem() -> Problem:
    return PROBLEMS["mlp"]()


@pytest.mark.parametrize("norm", ["loss", "parameters"])
@pytest.mark.parametrize("name", SOLVERS)
def test_relatif_normalises_with_every_solver(name: str, norm, problem: Problem) -> None:
    # In dattri three of six ignore the choice, as they do a name that does not exist (D10).
    task, solver, train = problem.task(), SOLVERS[name], [problem.train]
    influence = InfluenceFunction(task, solver, EmpiricalFisher()).cache(train)
    relative = RelatIF(task, solver, EmpiricalFisher(), norm).cache(train)
    rows = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    if name == "DataInf":
        inverse = reference.data_inf(rows, 2.0, reference.layers(problem.model))
    else:
        inverse = reference.damped_inverse(reference.fisher(rows), 2.0)
    solved = rows @ inverse
    norms = (rows * solved).sum(1).sqrt() if norm == "loss" else solved.norm(dim=1)
    wanted = influence.attribute(train, [problem.test]) / norms[:, None]
    found = relative.attribute(train, [problem.test])
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-9)
    assert torch.allclose(
        relative.self_influence(train).double(), influence.self_influence(train) / norms, rtol=1e-5
    )


def test_an_ensemble_is_normalised_checkpoint_by_checkpoint(problem: Problem) -> None:
    states = [perturbed(problem.model, seed) for seed in range(3)]
    train, test = [problem.train], [problem.test]
    parts = [
        RelatIF(problem.task(checkpoints=[state]), Woodbury(2.0))
        .cache(train)
        .attribute(train, test)
        for state in states
    ]
    found = RelatIF(problem.task(checkpoints=states), Woodbury(2.0)).cache(train)
    assert torch.allclose(found.attribute(train, test), sum(parts) / 3, rtol=1e-5)


def test_norms_are_computed_once_for_all_blocks_of_test_samples(problem, monkeypatch) -> None:
    train, test = [problem.train], [problem.test]
    wanted = RelatIF(problem.task(), Woodbury(2.0)).cache(train).attribute(train, test)
    attributor = RelatIF(problem.task(memory_budget=2000), Woodbury(2.0)).cache(train)
    calls = []
    quadratic = attributor.quadratic
    monkeypatch.setattr(
        attributor, "quadratic", lambda *a, **k: calls.append(1) or quadratic(*a, **k)
    )
    solve = attributor.solve
    monkeypatch.setattr(attributor, "solve", lambda *a: calls.append(2) or solve(*a))
    assert torch.allclose(attributor.attribute(train, test), wanted, rtol=1e-5)
    assert calls.count(2) > 1, "all test samples came in one block"
    assert calls.count(1) == 1


@pytest.mark.parametrize("name", SOLVERS)
def test_an_unknown_norm_is_refused_with_the_known_ones(name: str, problem: Problem) -> None:
    with pytest.raises(ValueError, match="norm must be one of loss, parameters, got 'theta'"):
        RelatIF(problem.task(), SOLVERS[name], norm="theta")


def test_a_norm_and_averaged_weights_are_refused_together(problem: Problem) -> None:
    task, kernel = problem.task(target=targets.margin), MarginGaussNewton()
    with pytest.raises(ValueError, match="a norm needs weights='own', got averaged ones"):
        InfluenceFunction(task, Woodbury(1.0), kernel, weights="averaged", norm="loss")


@pytest.mark.parametrize("norm", ["loss", "parameters"])
@pytest.mark.parametrize("name", ["explicit", "CG", "Lanczos", "Woodbury", "DataInf"])
def test_a_sample_without_gradient_has_no_influence(name: str, norm, problem: Problem) -> None:
    def loss(model, batch):
        return problem.loss(model, batch[:2]) * batch[2]

    weights = torch.ones(9, dtype=torch.float64)
    weights[4] = 0.0
    train = [(*problem.train, weights)]
    test = [(*problem.test, torch.ones(5, dtype=torch.float64))]
    task = problem.task(loss=loss, target=loss)
    attributor = RelatIF(task, SOLVERS[name], EmpiricalFisher(), norm).cache(train)
    scores = attributor.attribute(train, test)
    assert bool(torch.isfinite(scores).all())
    assert float(scores[4].abs().max()) == 0.0
    assert float(attributor.self_influence(train)[4]) == 0.0
    assert int((scores == 0).sum()) == 5


def test_a_curvature_that_is_not_positive_is_refused(problem: Problem) -> None:
    attributor = RelatIF(problem.task(), Explicit(1e-3), ExactHessian()).cache([problem.train])
    with pytest.raises(
        ValueError, match=r"must be positive, got -.* at sample \d+: C \+ λI is not"
    ):
        attributor.attribute([problem.train], [problem.test])
    with pytest.raises(ValueError, match="raise the damping, or use a Gauss-Newton curvature"):
        attributor.self_influence([problem.train])


def test_the_largest_self_influence_no_longer_comes_first_everywhere(problem: Problem) -> None:
    # One sample of a hundredfold loss: influence ranks it first for most, relative influence does not.
    def loss(model, batch):
        return problem.loss(model, batch[:2]) * batch[2]

    weights = torch.ones(9, dtype=torch.float64)
    weights[4] = 100.0
    train = [(*problem.train, weights)]
    test = [(*problem.test, torch.ones(5, dtype=torch.float64))]
    task, solver = problem.task(loss=loss, target=loss), Woodbury(20.0)
    share = {}
    for kind in (InfluenceFunction, RelatIF):
        scores = kind(task, solver).cache(train).attribute(train, test).abs()
        share[kind] = float((scores[4] / scores.sum(0)).mean())
    assert share[RelatIF] < 0.5 * share[InfluenceFunction], share
