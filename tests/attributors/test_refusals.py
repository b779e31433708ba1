"""What an attributor refuses, at the door and in words."""

from __future__ import annotations

import psutil
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from headwater import targets
from headwater.attributors import TRAK, Attributor, GradDot, InfluenceFunction, TracInCP
from headwater.curvature import EmpiricalFisher, MarginGaussNewton
from headwater.projections import Rademacher
from headwater.solvers import ConjugateGradient, Explicit, Woodbury
from tests.laws import TABLE, Row
from tests.problems import Problem, cross_entropy, perturbed, select, split


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


@pytest.fixture
def attributor(row: Row, problem: Problem) -> Attributor:
    return row.attributor(problem, [perturbed(problem.model, c) for c in range(row.checkpoints)])


def _shuffled(problem: Problem) -> DataLoader:
    return DataLoader(TensorDataset(*problem.train), batch_size=3, shuffle=True)


def test_shuffling_loaders_are_refused(attributor: Attributor, problem: Problem) -> None:
    train, shuffled = split(problem.train, 3), _shuffled(problem)
    with pytest.raises(ValueError, match=r"train_loader must .* fixed order.*pass shuffle=False"):
        attributor.cache(shuffled)
    attributor.cache(train)
    with pytest.raises(ValueError, match=r"train_loader must .* fixed order"):
        attributor.attribute(shuffled, train)
    with pytest.raises(ValueError, match=r"test_loader must .* fixed order"):
        attributor.attribute(train, shuffled)
    with pytest.raises(ValueError, match=r"train_loader must .* fixed order"):
        attributor.self_influence(shuffled)


def test_iterators_are_refused(attributor: Attributor, problem: Problem) -> None:
    train = split(problem.train, 3)
    with pytest.raises(ValueError, match="train_loader must be readable more than once"):
        attributor.cache(iter(train))
    attributor.cache(train)
    with pytest.raises(ValueError, match="test_loader must be readable more than once"):
        attributor.attribute(train, (batch for batch in train))


def test_datasets_of_samples_are_refused(attributor: Attributor, problem: Problem) -> None:
    samples = TensorDataset(*problem.train)
    with pytest.raises(ValueError, match=r"train_loader must yield batches.*pass DataLoader\("):
        attributor.cache(samples)


def test_attribute_before_cache_is_refused(attributor: Attributor, problem: Problem) -> None:
    with pytest.raises(ValueError, match=r"cache must be called first.*call cache\(train_loader\)"):
        attributor.attribute([problem.train], [problem.test])
    with pytest.raises(ValueError, match="cache must be called first"):
        attributor.self_influence([problem.train])


CHANGES = {
    "another order of samples": lambda p: [select(p.train, torch.arange(8, -1, -1))],
    "fewer samples": lambda p: [select(p.train, slice(0, 8))],
    "more samples": lambda p: [p.train, p.train],
    "other labels": lambda p: [(p.train[0], (p.train[1] + 1) % 3)],
    "other inputs": lambda p: [(p.train[0] + 1e-3, p.train[1])],
    "nothing": lambda p: [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_loader_than_that_of_cache_is_refused(change: str, problem: Problem) -> None:
    attributor = GradDot(problem.task()).cache([problem.train])
    changed = CHANGES[change](problem)
    with pytest.raises(ValueError, match=r"must yield what cache has seen.*call cache again"):
        attributor.attribute(changed, [problem.test])
    with pytest.raises(ValueError, match="must yield what cache has seen"):
        attributor.self_influence(changed)


def test_a_loader_that_is_never_the_same_is_refused(problem: Problem) -> None:
    class Augmented:
        def __iter__(self):
            x, y = problem.train
            yield x + torch.randn(x.shape, dtype=x.dtype), y

    attributor = GradDot(problem.task()).cache(Augmented())
    with pytest.raises(ValueError, match="turn off shuffling and augmentation"):
        attributor.attribute(Augmented(), [problem.test])


def test_empty_loaders_are_refused(attributor: Attributor, problem: Problem) -> None:
    with pytest.raises(ValueError, match="train_loader must yield batches, got none"):
        attributor.cache([])
    attributor.cache([problem.train])
    with pytest.raises(ValueError, match="test_loader must yield batches, got none"):
        attributor.attribute([problem.train], [])


@pytest.mark.parametrize("size", [2, 4, 9])
def test_a_nan_names_the_sample_in_the_data(
    attributor: Attributor, problem: Problem, size: int
) -> None:
    x = problem.train[0].clone()
    if not x.is_floating_point():
        pytest.skip("tokens are finite")
    x[7, 1] = torch.nan
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity at sample 7;"):
        attributor.cache(split((x, problem.train[1]), size))
    attributor.cache([problem.train])
    x = problem.test[0].clone()
    x[4, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity at sample 4;"):
        attributor.attribute([problem.train], split((x, problem.test[1]), min(size, 3)))


def test_a_reduced_loss_is_refused(row: Row, problem: Problem) -> None:
    mean = lambda model, batch: cross_entropy(model, batch).mean()  # noqa: E731
    checkpoints = [problem.model.state_dict()] * row.checkpoints
    target = targets.margin if row.margin else mean
    task = problem.task(checkpoints=checkpoints, loss=mean, target=target)
    attributor = row.make(task, range(row.checkpoints), 1.0)
    with pytest.raises(ValueError, match=r"one value per sample.*use reduction='none'"):
        attributor.cache([problem.train])


def test_a_failed_cache_leaves_nothing_half_done(problem: Problem) -> None:
    state = problem.model.state_dict()
    attributor = GradDot(problem.task(checkpoints=[state, {"wrong": torch.zeros(1)}]))
    with pytest.raises(ValueError, match="must have the model's state_dict keys"):
        attributor.cache([problem.train])
    with pytest.raises(ValueError, match="cache must be called first"):
        attributor.attribute([problem.train], [problem.test])


# What single methods refuse --------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [row for row in TABLE.values() if row.margin and row.kind is not InfluenceFunction],
    indirect=False,
)
def test_methods_of_the_margin_refuse_to_explain_the_loss(row: Row, problem: Problem) -> None:
    for target in (None, problem.loss):
        with pytest.raises(ValueError, match=r"the loss itself; pass target=margin"):
            row.make(problem.task(target=target), range(row.checkpoints), 1.0)


def test_trak_refuses_another_target_than_the_margin(problem: Problem) -> None:
    attributor = TRAK(problem.task(target=targets.logit), Rademacher(dimension=4))
    with pytest.raises(ValueError, match=r"pass headwater.targets.margin as target"):
        attributor.cache([problem.train])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dimension", [10, 12, 40])
def test_trak_refuses_a_singular_matrix(problem: Problem, dimension: int, seed: int) -> None:
    task = problem.task(target=targets.margin)
    train, test = [problem.train], [problem.test]
    attributor = TRAK(task, Rademacher(dimension, seed)).cache(train)
    with pytest.raises(ValueError, match=r"must be positive definite.*or damping > 0"):
        attributor.attribute(train, test)
    with pytest.raises(ValueError, match=r"must be positive definite.*or damping > 0"):
        attributor.self_influence(train)
    damped = TRAK(task, Rademacher(dimension, seed), damping=1e-3).cache(train)
    assert bool(torch.isfinite(damped.attribute(train, test)).all())


def test_trak_without_damping_is_exact_below_the_number_of_samples(problem: Problem) -> None:
    task = problem.task(target=targets.margin)
    train = [problem.train]
    plain = TRAK(task, Rademacher(4)).cache(train).attribute(train, [problem.test])
    damped = TRAK(task, Rademacher(4), damping=1e-9).cache(train).attribute(train, [problem.test])
    assert torch.allclose(plain, damped, rtol=1e-3)


@pytest.mark.parametrize("damping", [-1.0, float("nan")])
def test_trak_refuses_a_negative_damping(problem: Problem, damping: float) -> None:
    with pytest.raises(ValueError, match="damping must be >= 0"):
        TRAK(problem.task(target=targets.margin), Rademacher(4), damping=damping)


def test_tracin_needs_one_rate_a_checkpoint(problem: Problem) -> None:
    with pytest.raises(ValueError, match="one learning rate per checkpoint, got 2 for 1"):
        TracInCP(problem.task(), learning_rates=[0.1, 0.2])


def test_woodbury_on_the_hessian_cannot_be_asked_for(problem: Problem) -> None:
    # No curvature means the Hessian for the other solvers, the empirical Fisher for Woodbury.
    plain = InfluenceFunction(problem.task(), Woodbury(1.0)).cache([problem.train])
    fisher = InfluenceFunction(problem.task(), Woodbury(1.0), EmpiricalFisher()).cache(
        [problem.train]
    )
    arguments = ([problem.train], [problem.test])
    assert torch.equal(plain.attribute(*arguments), fisher.attribute(*arguments))


def test_gauss_newton_refuses_another_loss(problem: Problem) -> None:
    square = lambda model, batch: model(batch[0]).square().sum(1)  # noqa: E731
    task = problem.task(loss=square, target=square)
    attributor = InfluenceFunction(task, Woodbury(1.0), MarginGaussNewton())
    with pytest.raises(ValueError, match="must be the cross-entropy that belongs to the margin"):
        attributor.cache([problem.train])


def test_explicit_refuses_a_model_that_is_too_large(problem: Problem, monkeypatch) -> None:
    class Memory:
        available = 10_000

    attributor = InfluenceFunction(problem.task(), Explicit(1.0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(
        MemoryError, match=r"of 85 parameters needs .*or restrict the task with layers="
    ):
        attributor.cache([problem.train])


def test_an_indefinite_hessian_gives_finite_scores_and_a_warning(problem: Problem, caplog) -> None:
    attributor = InfluenceFunction(
        problem.task(), ConjugateGradient(damping=0.0, max_iterations=60)
    )
    scores = attributor.cache([problem.train]).attribute([problem.train], [problem.test])
    assert bool(torch.isfinite(scores).all())
    assert "did not converge" in caplog.text
