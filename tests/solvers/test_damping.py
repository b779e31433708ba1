"""The damping: a number, or a multiple of the mean eigenvalue of the curvature."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from headwater.attributors import InfluenceFunction, RelatIF
from headwater.curvature import EmpiricalFisher, ExactHessian, MarginGaussNewton
from headwater.solvers import (
    ConjugateGradient,
    DataInf,
    Eigenbasis,
    Explicit,
    Lanczos,
    LiSSA,
    Relative,
    Solver,
    Woodbury,
)
from tests import reference
from tests.problems import PROBLEMS, Problem, perturbed

SOLVERS = {
    "explicit": Explicit,
    "CG": lambda damping: ConjugateGradient(damping, max_iterations=100, tolerance=1e-12),
    "Lanczos": lambda damping: Lanczos(damping, rank=100),
    "Woodbury": Woodbury,
    "DataInf": DataInf,
}


@pytest.fixture
def problem() -> Problem:
    return PROBLEMS["mlp"]()


def mean_eigenvalue(problem: Problem, state) -> float:
    """tr(C)/p of the empirical Fisher, from its rows."""
    model = reference.at(problem.model, state)
    rows = reference.per_sample_gradients(model, problem.loss, problem.train)
    return float(rows.square().sum()) / rows.numel()


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("norm", [None, "loss"])
def test_a_relative_damping_is_that_number(name: str, norm, problem: Problem) -> None:
    state = perturbed(problem.model, seed=1)
    task, train, test = problem.task(checkpoints=[state]), [problem.train], [problem.test]
    number = 0.3 * mean_eigenvalue(problem, state)

    def attributor(damping) -> InfluenceFunction:
        kind = InfluenceFunction if norm is None else RelatIF
        return kind(task, SOLVERS[name](damping), EmpiricalFisher()).cache(train)

    wanted, found = attributor(number), attributor(Relative(0.3))
    close = {"rtol": 1e-5, "atol": 0.0}
    assert torch.allclose(found.attribute(train, test), wanted.attribute(train, test), **close)
    assert torch.allclose(found.self_influence(train), wanted.self_influence(train), **close)


def test_every_checkpoint_has_a_number_of_its_own(problem: Problem, caplog) -> None:
    caplog.set_level(logging.INFO, "headwater")
    states = [perturbed(problem.model, seed) for seed in range(2)]
    train, test = [problem.train], [problem.test]
    parts = []
    for state in states:
        solver = Woodbury(0.1 * mean_eigenvalue(problem, state))
        one = InfluenceFunction(problem.task(checkpoints=[state]), solver)
        parts.append(one.cache(train).attribute(train, test))
    both = InfluenceFunction(problem.task(checkpoints=states), Woodbury("auto"))
    found = both.cache(train).attribute(train, test)
    assert torch.allclose(found, sum(parts) / 2, rtol=1e-5, atol=0.0)
    for index, state in enumerate(states):
        number = 0.1 * mean_eigenvalue(problem, state)
        assert f"damping {number:.3g} at checkpoint {index}" in caplog.text


def test_the_mean_eigenvalue_is_that_of_every_curvature(problem: Problem) -> None:
    model = problem.model
    hessian = reference.hessian(model, problem.loss, problem.train)
    task = problem.task()
    method = InfluenceFunction(task, Explicit(Relative(2.0)), ExactHessian()).cache([problem.train])
    mean = float(method._states[0]["mean_eigenvalue"])
    assert mean == pytest.approx(float(hessian.diagonal().mean()), rel=0.5)  # by random vectors


def test_what_a_number_prepared_serves_a_relative_damping(problem: Problem) -> None:
    task, train = problem.task(), [problem.train]
    number = InfluenceFunction(task, Explicit(1.0), EmpiricalFisher()).cache(train)
    relative = InfluenceFunction(task, Explicit("auto"), EmpiricalFisher()).cache(train)
    assert "mean_eigenvalue" not in number._states[0]
    wanted = relative.self_influence(train)
    relative._states = number._states
    assert torch.equal(relative.self_influence(train), wanted)


def test_a_preconditioner_has_the_same_units() -> None:
    solver = ConjugateGradient("auto", preconditioner=Lanczos(Relative(0.5), rank=3))
    assert solver.is_relative
    assert ConjugateGradient(1.0, preconditioner=Lanczos("auto", rank=3)).is_relative
    found = solver.resolved(mean_eigenvalue=2.0)
    assert found == ConjugateGradient(0.2, preconditioner=Lanczos(1.0, rank=3))
    assert not found.is_relative
    assert found.resolved(math.nan) is found


@pytest.mark.parametrize(
    "kind", [Explicit, Woodbury, DataInf, Eigenbasis, ConjugateGradient, LiSSA], ids=str
)
def test_dampings_that_mean_nothing_are_refused(kind: type[Solver]) -> None:
    with pytest.raises(ValueError, match=r"must be a number, 'auto' or Relative.*, got 'much'"):
        kind("much")
    with pytest.raises(ValueError, match=r"damping must be >=? 0, got nan"):
        kind(math.nan)


@pytest.mark.parametrize("multiple", [0.0, -1.0, math.nan])
def test_a_multiple_is_positive(multiple: float) -> None:
    with pytest.raises(ValueError, match="the multiple of a relative damping must be > 0"):
        Relative(multiple)


@pytest.mark.parametrize("mean", [0.0, -1.0, math.nan, math.inf])
def test_a_curvature_without_scale_is_refused(mean: float) -> None:
    with pytest.raises(ValueError, match=r"mean eigenvalue is positive, got .* pass a number"):
        Explicit("auto").resolved(mean)


def test_a_margin_curvature_counts_its_weights(problem: Problem) -> None:
    task, train = problem.task(), [problem.train]
    method = InfluenceFunction(task, Woodbury("auto"), MarginGaussNewton()).cache(train)
    margin = MarginGaussNewton().margin
    rows = reference.per_sample_gradients(problem.model, margin, problem.train)
    p = 1.0 - reference.error_probabilities(reference.values(problem.model, margin, problem.train))
    trace = reference.fisher(rows, (p * (1.0 - p)).sqrt()).trace()
    found = float(method._states[0]["mean_eigenvalue"])
    assert found == pytest.approx(float(trace) / rows.shape[1], rel=1e-9)
