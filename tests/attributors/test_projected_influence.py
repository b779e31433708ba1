"""Projected influence respects the target and all checkpoints, and is exact with every dimension."""

from __future__ import annotations

import pytest
import torch

from headwater import targets
from headwater.attributors import InfluenceFunction, ProjectedInfluence
from headwater.attributors.projected_influence import factgrass, grass, logra
from headwater.curvature import KFAC, EmpiricalFisher, ExactHessian
from headwater.gradients.source import CapturedSource
from headwater.projections import FactGraSS, GraSS, Kronecker, Rademacher
from headwater.solvers import Eigenbasis, Explicit, Woodbury
from tests.problems import PROBLEMS, Problem, perturbed


@pytest.fixture
def problem() -> Problem:
    return PROBLEMS["mlp"]()


@pytest.mark.parametrize("name", ["mlp", "shared linear", "mixed", "sequence"])
def test_with_every_dimension_it_is_the_influence_of_the_fisher_matrix(name: str) -> None:
    problem = PROBLEMS[name]()
    checkpoints = [perturbed(problem.model, seed=c) for c in range(2)]
    task = problem.task(checkpoints=checkpoints)
    train, test = [problem.train], [problem.test]
    exact = InfluenceFunction(task, Woodbury(0.1), EmpiricalFisher()).cache(train)
    for projection in (Kronecker(99, 99), FactGraSS(999)):
        found = ProjectedInfluence(task, projection, damping=0.1).cache(train)
        wanted = exact.attribute(train, test)
        assert torch.allclose(found.attribute(train, test), wanted, rtol=1e-4, atol=1e-8)
        wanted = exact.self_influence(train)
        assert torch.allclose(found.self_influence(train), wanted, rtol=1e-4, atol=1e-8)


def test_the_target_is_respected(problem: Problem) -> None:
    train, test = [problem.train], [problem.test]
    scores = [
        logra(problem.task(target=target), 3, 3, damping=0.1).cache(train).attribute(train, test)
        for target in (None, targets.margin, targets.logit)
    ]
    assert not torch.allclose(scores[0], scores[1])
    assert not torch.allclose(scores[1], scores[2])


def test_every_checkpoint_counts_with_a_projection_of_its_own(problem: Problem) -> None:
    checkpoints = [perturbed(problem.model, seed=c) for c in range(3)]
    train, test = [problem.train], [problem.test]

    def scores(chosen, projection) -> torch.Tensor:
        task = problem.task(checkpoints=chosen)
        return ProjectedInfluence(task, projection, 0.1).cache(train).attribute(train, test)

    projection = GraSS(10, seed=2)
    once = scores(checkpoints[:1], projection)
    twice = scores([checkpoints[0]] * 2, projection)
    assert not torch.allclose(twice, once), "two checkpoints share one projection"
    assert not torch.allclose(scores(checkpoints, projection), once)


def test_the_state_does_not_depend_on_the_damping(problem: Problem) -> None:
    states = []
    for damping in (0.0, 5.0):
        attributor = ProjectedInfluence(problem.task(), Kronecker(2, 2), damping, "layers")
        source = CapturedSource(
            attributor.task, 0, [problem.train], attributor.train_function, attributor.represent
        )
        states.append(attributor.prepare(source))
    assert sorted(states[0]) == ["matrix.0000", "matrix.0001", "matrix.0002"]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


RECIPES = {
    "logra": (logra, (3, 2), Kronecker(3, 2, seed=4), "layers"),
    "grass": (grass, (6,), GraSS(6, seed=4), 1),
    "factgrass": (factgrass, (6,), FactGraSS(6, seed=4), "layers"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_compositions(name: str, problem: Problem, tmp_path, monkeypatch) -> None:
    make, dimensions, projection, blocks = RECIPES[name]
    train, test = [problem.train], [problem.test]
    monkeypatch.chdir(tmp_path)
    made = make(problem.task(), *dimensions, damping=0.2, seed=4)
    assert (made.projection, made.solver) == (projection, Explicit(0.2, blocks))
    same = ProjectedInfluence(problem.task(), projection, 0.2, blocks)
    wanted = same.cache(train).attribute(train, test)
    assert torch.equal(made.cache(train).attribute(train, test), wanted)
    assert not list(tmp_path.iterdir()), "something was written to the current folder"


def test_projected_gradients_need_no_projection(problem: Problem) -> None:
    train, test = [problem.train], [problem.test]
    whole = ProjectedInfluence(problem.task(), Kronecker(99, 99), 0.1).cache(train)
    as_it_is = ProjectedInfluence(problem.task(), None, 0.1).cache(train)
    wanted = whole.attribute(train, test)
    assert torch.allclose(as_it_is.attribute(train, test), wanted, rtol=1e-4, atol=1e-8)


def test_a_singular_matrix_is_refused(problem: Problem) -> None:
    attributor = ProjectedInfluence(problem.task(), Rademacher(20), damping=0.0)
    attributor.cache([problem.train])
    with pytest.raises(ValueError, match=r"must be positive definite.*or damping > 0"):
        attributor.attribute([problem.train], [problem.test])


@pytest.mark.parametrize("damping", [-1.0, float("nan")])
def test_a_negative_damping_is_refused(problem: Problem, damping: float) -> None:
    with pytest.raises(ValueError, match="damping must be >= 0"):
        logra(problem.task(), 2, 2, damping)


@pytest.mark.parametrize(
    ("solver", "curvature"), [(Explicit(1.0), ExactHessian()), (Eigenbasis(1.0), KFAC())], ids=str
)
def test_a_curvature_of_all_parameters_takes_no_projection(problem, solver, curvature) -> None:
    with pytest.raises(ValueError, match="needs a curvature made of the gradients as they are"):
        InfluenceFunction(problem.task(), solver, curvature, Rademacher(4))


def test_a_projection_stands_for_the_empirical_fisher(problem: Problem) -> None:
    attributor = InfluenceFunction(problem.task(), Explicit(1.0), projection=Rademacher(4))
    assert attributor.curvature == EmpiricalFisher()
    assert not attributor.takes_projected
    assert ProjectedInfluence(problem.task(), None, 1.0).takes_projected
    assert not InfluenceFunction(problem.task(), Explicit(1.0)).takes_projected
