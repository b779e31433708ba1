"""The dimension of a projection: enough for the curvature, or a warning."""

from __future__ import annotations

import logging

import pytest
import torch

from headwater import targets
from headwater.attributors import TRAK, InfluenceFunction, ProjectedInfluence
from headwater.attributors.projection_dimension import (
    WARNED,
    effective_dimension,
    measured_dimension,
    sized,
    sufficient_dimension,
)
from headwater.curvature import EmpiricalFisher, MarginGaussNewton, RowOperator
from headwater.gradients import Gradients
from headwater.loader import LoadedData
from headwater.projections import GraSS, Kronecker, Rademacher, RandomMask, SparseJL
from headwater.solvers import Explicit, Relative, Woodbury
from tests import reference
from tests.groups import train_gradients
from tests.problems import PROBLEMS, Problem, split
from tests.systems import random


@pytest.fixture
def problem() -> Problem:
    return PROBLEMS["mlp"]()


@pytest.mark.parametrize("damping", [1e-3, 0.3, 5.0])
def test_the_effective_dimension_is_a_trace(damping: float) -> None:
    rows = random(7, 12)
    curvature = reference.fisher(rows)
    wanted = (curvature @ reference.damped_inverse(curvature, damping)).trace()
    small = torch.linalg.eigvalsh(rows @ rows.T / 7)
    assert effective_dimension(small, damping) == pytest.approx(float(wanted), rel=1e-9)
    assert effective_dimension(small, 0.0) == 7.0


@pytest.mark.parametrize("solver", [Explicit(0.5), Woodbury(0.5)], ids=str)
def test_the_measured_dimension_is_near_it(solver) -> None:
    rows = random(300, 200)
    operator = RowOperator.of(Gradients.of_vectors(rows))
    found = measured_dimension(solver, operator, solver.prepare(operator))
    wanted = effective_dimension(torch.linalg.eigvalsh(rows @ rows.T / 300), 0.5)
    assert found == pytest.approx(wanted, abs=3 * (2 * 200 / 8) ** 0.5)
    assert found == pytest.approx(wanted, rel=0.1)


def test_the_rule_is_15_times_rounded_up_to_64() -> None:
    eigenvalues = torch.tensor([1.0] * 40 + [0.0] * 100)
    assert sufficient_dimension(eigenvalues, 1.0) == 320  # 15 · 20 = 300
    assert sufficient_dimension(eigenvalues, 1e6) == 64
    assert sufficient_dimension(torch.zeros(5), 1.0) == 64


def test_a_relative_damping_is_that_of_the_projected_space() -> None:
    eigenvalues = 1.0 / torch.arange(1, 200).double() ** 2
    for damping in ("auto", Relative(0.1)):
        k = sufficient_dimension(eigenvalues, damping)
        number = 0.1 * float(eigenvalues.sum()) / k
        assert k >= 15 * effective_dimension(eigenvalues, number)
        before = 0.1 * float(eigenvalues.sum()) / (k - 64)
        assert k - 64 < 15 * effective_dimension(eigenvalues, before)


@pytest.mark.parametrize(
    "curvature", [EmpiricalFisher(), MarginGaussNewton()], ids=lambda c: type(c).__name__
)
def test_auto_is_that_of_the_first_samples(curvature, problem: Problem, caplog) -> None:
    caplog.set_level(logging.INFO, "headwater")
    task, damping = problem.task(), 0.05
    function = curvature.function(task)
    rows = reference.per_sample_gradients(problem.model, function, problem.train)
    values = reference.values(problem.model, function, problem.train)
    rows = rows * curvature.row_scale(values)[:, None]
    d = effective_dimension(torch.linalg.eigvalsh(rows @ rows.T / problem.n), damping)
    wanted = min(task.layout.size, 64 * -int(-15 * d // 64))
    for kind in (Rademacher, SparseJL, GraSS):
        data = LoadedData(split(problem.train, 4), "train_loader", 10**6)
        found = sized(kind("auto", seed=3), task, curvature, damping, data)
        assert found == kind(wanted, seed=3)
    assert f"the projection gets {wanted} dimensions, as {problem.n} samples need" in caplog.text


def test_auto_is_settled_in_cache_once_for_all_checkpoints(problem: Problem) -> None:
    task, train, test = problem.task(target=targets.margin), [problem.train], [problem.test]
    auto = TRAK(task, Rademacher("auto", seed=2), damping=1.0).cache(train)
    assert auto.projection == Rademacher("auto", seed=2), "another cache must choose again"
    k = train_gradients(auto._sources[0]).dimension
    wanted = TRAK(task, Rademacher(k, seed=2), damping=1.0).cache(train)
    assert torch.equal(auto.attribute(train, test), wanted.attribute(train, test))


def test_other_projections_are_left_as_they_are(problem: Problem) -> None:
    for projection in (None, Kronecker(2, 2), Rademacher(3)):
        data = LoadedData([], "train_loader", 0)
        assert sized(projection, problem.task(), EmpiricalFisher(), 1.0, data) is projection


@pytest.mark.parametrize("kind", [Rademacher, SparseJL, GraSS, RandomMask])
def test_a_dimension_that_was_not_settled_projects_nothing(kind) -> None:
    with pytest.raises(
        ValueError, match="must have its dimension as a number to project, got 'auto'"
    ):
        kind("auto")(torch.ones(2, 8))


def test_too_few_dimensions_are_a_warning(problem: Problem, caplog) -> None:
    caplog.set_level(logging.WARNING, "headwater")
    train = [problem.train]
    WARNED.clear()
    small = ProjectedInfluence(problem.task(), Rademacher(8, seed=1), damping=1e-9).cache(train)
    assert "more than twice as many dimensions as the curvature in it, got 8 for 8" in caplog.text
    caplog.clear()
    small.cache(train)
    assert not caplog.records, "this process has said it"
    WARNED.clear()
    ProjectedInfluence(problem.task(), Rademacher(8, seed=1), damping=1e3).cache(train)
    InfluenceFunction(problem.task(), Explicit(1e-9), EmpiricalFisher()).cache(train)
    ProjectedInfluence(problem.task(), Rademacher(8, seed=1), damping=0.0).cache(train)
    assert not caplog.records
