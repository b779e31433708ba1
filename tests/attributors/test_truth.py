"""Scores against retraining: the sign, the order and the unit are those of the truth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.attributors import InfluenceFunction
from headwater.curvature import MarginGaussNewton
from headwater.solvers import ConjugateGradient, Explicit, Woodbury
from tests.laws import TABLE
from tests.problems import Logistic, Ridge, split


@pytest.fixture(scope="module")
def logistic() -> Logistic:
    return Logistic(n=60, d=6, classes=2, l2=0.02)


@pytest.fixture(scope="module")
def truth(logistic: Logistic) -> Tensor:
    return logistic.leave_one_out()


def _correlation(scores: Tensor, truth: Tensor) -> float:
    """Mean over test samples of the Pearson correlation over training samples."""
    a, b = scores.double() - scores.double().mean(0), truth - truth.mean(0)
    return float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).mean())


def _scores(name: str, logistic: Logistic) -> Tensor:
    row, problem = TABLE[name], logistic.problem()
    path = (1.0, 0.8, 0.6) if row.kind.__name__ in ("TracInCP", "TRAK") else (1.0,) * 2
    checkpoints = [{"weight": scale * logistic.weight} for scale in path[: row.checkpoints]]
    attributor = row.attributor(problem, checkpoints, damping=logistic.l2)
    train = split(problem.train, 16)
    return attributor.cache(train).attribute(train, split(problem.test, 3))


def test_newtons_method_has_found_the_optimum(logistic: Logistic) -> None:
    gradient = logistic.gradients(logistic.weight).mean(0) + logistic.l2 * logistic.weight.flatten()
    assert float(gradient.norm()) < 1e-12


INFORMED = [name for name, row in TABLE.items() if row.informed]


@pytest.mark.parametrize("name", INFORMED)
def test_scores_agree_with_leave_one_out(name: str, logistic: Logistic, truth: Tensor) -> None:
    found, least = _correlation(_scores(name, logistic), truth), TABLE[name].leave_one_out
    assert found > least, (
        f"{name}: correlation {found:.3f} with leave-one-out; below 0 = wrong sign"
    )


@pytest.mark.parametrize("name", INFORMED)
def test_sums_of_scores_rank_retrained_subsets(name: str, logistic: Logistic) -> None:
    # The linear datamodeling score, with exact retraining on halves.
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([torch.randperm(60, generator=generator) < 30 for _ in range(24)]).double()
    retrained = torch.stack([logistic.margins(logistic.fit(2.0 * mask)) for mask in masks])
    found = _correlation(masks @ _scores(name, logistic).double(), retrained)
    assert found > 0.05, f"{name}: correlation {found:.3f} with retraining on subsets"
    if TABLE[name].leave_one_out >= 0.9:
        assert found > 0.7, f"{name}: correlation {found:.3f} with retraining on subsets"


def test_a_copy_of_a_test_sample_helps_it(logistic: Logistic) -> None:
    # The margin of a test sample rises with a training sample that is equal to it.
    problem = logistic.problem()
    train = (
        torch.cat([problem.train[0], problem.test[0]]),
        torch.cat([problem.train[1], problem.test[1]]),
    )
    for name, row in TABLE.items():
        if row.problem != "mlp":
            continue
        checkpoints = [{"weight": logistic.weight}] * row.checkpoints
        attributor = row.attributor(problem, checkpoints, damping=logistic.l2).cache([train])
        own = attributor.attribute([train], [problem.test])[60:].diagonal()
        assert bool((own > 0).all()), (
            f"{name}: {own.tolist()}; positive = helps, but it came out not"
        )


SOLVERS = {
    "explicit": Explicit,
    "CG": lambda damping: ConjugateGradient(damping, max_iterations=100, tolerance=1e-12),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_influence_has_the_unit_of_the_target(name: str) -> None:
    ridge = Ridge(n=300)
    problem = ridge.problem()
    attributor = InfluenceFunction(problem.task(), SOLVERS[name](ridge.l2))
    train = split(problem.train, 64)
    found = attributor.cache(train).attribute(train, [problem.test]).double()
    truth = ridge.leave_one_out()
    slope = float((found * truth).sum() / truth.square().sum())
    assert slope == pytest.approx(1.0, abs=0.1), f"{slope:.3f} × f(with) - f(without)"
    worst = float((found - truth).abs().max() / truth.abs().max())
    assert worst < 0.1, f"{name}: off by {worst:.1%} of the largest effect"


def test_two_class_gauss_newton_has_the_unit_of_the_target(
    logistic: Logistic, truth: Tensor
) -> None:
    problem = logistic.problem()
    attributor = InfluenceFunction(problem.task(), Woodbury(logistic.l2), MarginGaussNewton())
    found = attributor.cache([problem.train]).attribute([problem.train], [problem.test]).double()
    slope = float((found * truth).sum() / truth.square().sum())
    assert slope == pytest.approx(1.0, abs=0.25), f"{slope:.3f} × m(with) - m(without)"


def test_influence_is_the_closed_form_of_ridge_regression() -> None:
    ridge = Ridge(n=40)
    problem = ridge.problem()
    inverse = torch.linalg.inv(ridge.hessian() + ridge.l2 * torch.eye(3, dtype=torch.float64))
    wanted = -ridge.gradients() @ inverse @ ridge.x_test.T / 40
    for size in (1, 7, 40):  # a sum of inverses of batch Hessians would differ
        attributor = InfluenceFunction(problem.task(), Explicit(ridge.l2))
        train = split(problem.train, size)
        found = attributor.cache(train).attribute(train, [problem.test]).double()
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-8), f"batches of {size}"


def test_samples_with_a_wrong_label_have_the_largest_self_influence() -> None:
    logistic = Logistic(n=60, d=6, l2=0.02)
    wrong = torch.tensor([3, 20, 41])
    logistic.y[wrong] = 1 - logistic.y[wrong]
    logistic.weight = logistic.fit(torch.ones(60, dtype=torch.float64))
    problem = logistic.problem()
    for name, row in TABLE.items():
        if not row.suspects:
            continue
        checkpoints = [{"weight": logistic.weight}] * row.checkpoints
        attributor = row.attributor(problem, checkpoints, damping=logistic.l2)
        found = attributor.cache([problem.train]).self_influence([problem.train])
        ranks = (found[wrong][:, None] > found[None]).double().mean(1)
        assert float(ranks.mean()) > 0.7, f"{name}: flipped labels at ranks {ranks.tolist()}"
