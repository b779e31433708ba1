"""How often loaders are read, and what of them is known again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from headwater import targets
from headwater.attributors import Attributor, GradDot, ProjectedInfluence
from headwater.attributors.feature_attributor import FeatureAttributor
from headwater.attributors.trajectory_attributor import TrajectoryAttributor
from headwater.projections import Rademacher
from tests.laws import TABLE, Row
from tests.problems import Problem, perturbed, select, split


class Counting:
    """A loader that counts how often it was opened, and the batches that were read."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches, self.opened, self.read = batches, 0, 0

    def __iter__(self) -> Iterator[Any]:
        self.opened += 1
        for batch in self.batches:
            self.read += 1
            yield batch

    @property
    def whole_passes(self) -> float:
        return self.read / len(self.batches)


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def _attributor(row: Row, problem: Problem, **more: Any) -> Attributor:
    checkpoints = [perturbed(problem.model, c) for c in range(row.checkpoints)]
    return row.attributor(problem, checkpoints, **more)


# How often -------------------------------------------------------------------------------------


def test_each_loader_is_read_once(row: Row, problem: Problem) -> None:
    attributor = _attributor(row, problem)
    train, test = (Counting(split(batch, 2)) for batch in (problem.train, problem.test))
    attributor.cache(train)
    assert (train.opened, train.whole_passes) == (1, 1)
    attributor.attribute(train, test)
    assert (test.opened, test.whole_passes) == (1, 1)
    attributor.self_influence(train)
    assert train.read == len(train.batches) + 2, "one batch for each check, and no more"


def test_checks_of_lists_and_data_sets_read_nothing(row: Row, problem: Problem) -> None:
    attributor = _attributor(row, problem)
    train = Counting(split(problem.train, 2))
    wanted = attributor.cache(train).attribute(list(train.batches), [problem.test])
    found = attributor.attribute(DataLoader(TensorDataset(*problem.train), 4), [problem.test])
    assert torch.equal(found, wanted)
    assert train.whole_passes == 1


@pytest.mark.parametrize("budget", [None, 1])
def test_methods_without_gradients_or_along_a_run_read_any_data_once(
    row: Row, problem: Problem, budget: int | None
) -> None:
    if not issubclass(row.kind, (FeatureAttributor, TrajectoryAttributor)):
        pytest.skip("a method of gradients may read what does not fit into its budget again")
    attributor = _attributor(row, problem, memory_budget=budget)
    train = Counting(split(problem.train, 2))
    attributor.cache(train)
    assert train.whole_passes == 1
    attributor.attribute(train, split(problem.test, 2))
    attributor.self_influence(train)
    assert train.read == len(train.batches) + 2, "one batch for each check, and no more"


def test_a_dimension_is_chosen_in_the_same_pass(problem: Problem, monkeypatch) -> None:
    monkeypatch.setattr("headwater.attributors.projection_dimension.SAMPLES", 5)
    train = Counting(split(problem.train, 2))
    ProjectedInfluence(problem.task(), Rademacher("auto"), damping=1.0).cache(train)
    assert (train.opened, train.whole_passes) == (1, 1)


def test_a_full_check_reads_the_loader_once(problem: Problem) -> None:
    train = Counting(split(problem.train, 2))
    attributor = GradDot(problem.task()).cache(train)
    attributor.attribute(train, [problem.test], check="all")
    assert (train.opened, train.whole_passes) == (2, 2)


def test_the_first_batch_says_what_does_not_fit(row: Row, problem: Problem) -> None:
    train = Counting(split(problem.train, 2))
    mean = lambda model, batch: problem.loss(model, batch).mean()  # noqa: E731
    target = targets.margin if row.margin else mean
    checkpoints = [problem.model.state_dict()] * row.checkpoints
    task = problem.task(checkpoints=checkpoints, loss=mean, target=target)
    with pytest.raises(ValueError, match="one value per sample"):
        row.make(task, range(row.checkpoints), 1.0).cache(train)
    assert train.read <= 1


WRONG = {
    "a loss of another kind": {"loss": lambda model, batch: model(batch[0]).square().sum(1)},
    "a target that goes both ways": {"target": lambda model, batch: model(batch[0])[:, 0]},
    "a checkpoint of another model": {"checkpoints": [{"wrong": torch.zeros(1)}]},
}
REFUSING = {
    "a loss of another kind": ("RPS labels", "IF Gauss-Newton Woodbury"),
    "a target that goes both ways": ("LabelMatch", "KNNShapley"),
    "a checkpoint of another model": ("GradDot", "LossOnly"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_is_captured_before_a_refusal(wrong: str, problem: Problem) -> None:
    for name in REFUSING[wrong]:
        row, train = TABLE[name], Counting(split(problem.train, [8, 1]))
        arguments = {"checkpoints": [problem.model.state_dict()] * row.checkpoints, **WRONG[wrong]}
        task = problem.task(**arguments)
        with pytest.raises(ValueError, match=r"must (be|rise|have)"):
            row.make(task, range(len(task.checkpoints)), 1.0).cache(train)
        assert train.read <= 1, name


# What is known again ---------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["ends", "all"])
def test_the_same_samples_in_other_batches_are_accepted(
    row: Row, problem: Problem, check: str
) -> None:
    attributor = _attributor(row, problem).cache([problem.train])
    wanted = attributor.attribute([problem.train], [problem.test])
    found = attributor.attribute(split(problem.train, 4), split(problem.test, 2), check=check)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
    own = attributor.self_influence(split(problem.train, [1, 8]), check=check)
    assert torch.allclose(own, attributor.self_influence([problem.train]), rtol=1e-5)


def test_a_change_in_the_middle_is_found_by_the_full_check(problem: Problem) -> None:
    x, y = problem.train
    changed = x.clone()
    changed[4] += 1.0
    attributor = GradDot(problem.task()).cache([problem.train])
    attributor.attribute([(changed, y)], [problem.test])
    with pytest.raises(ValueError, match=r"another sample between them.*call cache again"):
        attributor.attribute([(changed, y)], [problem.test], check="all")
    with pytest.raises(ValueError, match=r"another sample between them"):
        attributor.self_influence([(changed, y)], check="all")


def test_a_permuted_data_set_is_refused(problem: Problem) -> None:
    attributor = GradDot(problem.task()).cache([problem.train])
    permuted = select(problem.train, torch.arange(8, -1, -1))
    for loader in ([permuted], DataLoader(TensorDataset(*permuted), batch_size=4)):
        with pytest.raises(ValueError, match="another first sample"):
            attributor.attribute(loader, [problem.test])


# Scores in a file ------------------------------------------------------------------------------


def test_scores_in_a_file_are_the_same(row: Row, problem: Problem, tmp_path: Path) -> None:
    attributor = _attributor(row, problem).cache(split(problem.train, 4))
    wanted = attributor.attribute([problem.train], [problem.test])
    path = tmp_path / "scores.npy"
    for out in (path, str(path)):
        found = attributor.attribute([problem.train], [problem.test], out=out)
        assert torch.equal(found, wanted)
        assert np.array_equal(np.load(path), wanted.numpy())
    found.zero_()
    assert np.array_equal(np.load(path), wanted.numpy()), "the file is left as it is"
    assert [file.name for file in tmp_path.iterdir()] == ["scores.npy"]


def test_a_file_that_cannot_be_made_is_refused_at_the_door(
    problem: Problem, tmp_path: Path
) -> None:
    attributor = GradDot(problem.task()).cache([problem.train])
    test = Counting([problem.test])
    with pytest.raises(FileNotFoundError, match="out must be a file in a folder, found none at"):
        attributor.attribute([problem.train], test, out=tmp_path / "nowhere" / "scores.npy")
    assert test.opened == 0


def test_a_file_appears_only_when_it_is_whole(problem: Problem, tmp_path: Path) -> None:
    class Failing(GradDot):
        def score(self, source, solved):
            yield from super().score(source, solved)
            raise RuntimeError("no more")

    attributor = Failing(problem.task()).cache([problem.train])
    with pytest.raises(RuntimeError, match="no more"):
        attributor.attribute([problem.train], [problem.test], out=tmp_path / "scores.npy")
    assert not list(tmp_path.iterdir())
