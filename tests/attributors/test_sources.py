"""An attributor gives the same scores from stores on disk as from captured gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headwater import targets
from headwater.attributors import TRAK, Attributor, ProjectedInfluence
from headwater.attributors.source import CapturedSource, GradientSource, StoredSource
from headwater.gradients import Gradients, GradientStore, StoreDescription, StoreWriter, concatenate
from headwater.projections import Kronecker, Rademacher
from tests.laws import TABLE, Row
from tests.problems import PROBLEMS, Problem, perturbed, split


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def _stored(path: Path, gradients: Gradients, block: int) -> GradientStore:
    description = StoreDescription("tiny", "train", "loss", "hash", dtype="float64")
    writer = StoreWriter(path, description, n=len(gradients), block=block)
    writer.start(gradients)
    for rows in writer.missing():
        writer.write(rows, gradients[rows])
    return GradientStore(path)


def _from_stores(attributor: Attributor, problem: Problem, path: Path) -> list[GradientSource]:
    sources: list[GradientSource] = []
    for c in range(len(attributor.task.checkpoints)):
        captured = CapturedSource(
            attributor.task,
            c,
            [problem.train],
            attributor.train_function,
            attributor.represent,
        )
        captured.capture_test([problem.test])
        if attributor.train_function is None:  # no gradients, no stores
            sources.append(captured)
            continue
        train = _stored(path / f"train-{c}", captured.train(), block=4)
        test = _stored(path / f"test-{c}", captured.test(), block=2)
        sources.append(StoredSource(attributor.task, c, split(problem.train, 3), train, test))
    return sources


def test_scores_from_stores_are_the_same(row: Row, tmp_path: Path) -> None:
    problem = PROBLEMS["mlp"]()
    checkpoints = [perturbed(problem.model, c) for c in range(row.checkpoints)]
    attributor = row.attributor(problem, checkpoints)
    sources = _from_stores(attributor, problem, tmp_path)
    states = [attributor.prepare(source) for source in sources]
    solved = [attributor.solve(s, state) for s, state in zip(sources, states, strict=True)]
    found = np.full((problem.n, len(problem.test[0])), np.nan, dtype=np.float32)
    attributor.scores_into(found, sources, solved)
    train = [problem.train]
    wanted = attributor.cache(train).attribute(train, [problem.test])
    assert np.allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
    self_scores = attributor.self_scores(sources, states).float()
    assert torch.allclose(self_scores, attributor.self_influence(train), rtol=1e-5)


def test_a_source_without_test_samples_says_so(tmp_path: Path) -> None:
    problem = PROBLEMS["mlp"]()
    attributor = TABLE["GradDot"].attributor(problem, [problem.model.state_dict()])
    source = CapturedSource(
        attributor.task, 0, [problem.train], attributor.train_function, attributor.represent
    )
    with pytest.raises(ValueError, match="test gradients must be captured first"):
        source.test()
    train = _stored(tmp_path / "train", concatenate(list(source.train_blocks())), block=4)
    stored = StoredSource(attributor.task, 0, [problem.train], train, None)
    with pytest.raises(ValueError, match="only self-influence can be computed"):
        stored.test()
    assert attributor.self_scores([stored], [{}]).shape == (problem.n,)


@pytest.mark.parametrize("block", [1, 4, 9])
def test_the_blocks_of_a_store_change_nothing(block: int, tmp_path: Path) -> None:
    problem = PROBLEMS["mixed"]()
    attributor = TABLE["IF Fisher Woodbury"].attributor(problem, [problem.model.state_dict()])
    captured = CapturedSource(
        attributor.task, 0, [problem.train], attributor.train_function, attributor.represent
    )
    captured.capture_test([problem.test])
    train = _stored(tmp_path / "train", captured.train(), block)
    test = _stored(tmp_path / "test", captured.test(), block)
    stored = StoredSource(attributor.task, 0, [problem.train], train, test)
    scores = []
    for source in (captured, stored):
        out = np.empty((problem.n, len(problem.test[0])), dtype=np.float32)
        solved = attributor.solve(source, attributor.prepare(source))
        attributor.scores_into(out, [source], [solved])
        scores.append(out)
    assert np.allclose(scores[0], scores[1], rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda task: TRAK(task, Rademacher(4, seed=3), damping=0.1),
        lambda task: ProjectedInfluence(task, Kronecker(2, 2, seed=1), 0.1, "layers"),
    ],
    ids=["TRAK", "ProjectedInfluence"],
)
def test_a_random_projection_works_on_a_store_of_factored_gradients(make, tmp_path: Path) -> None:
    problem = PROBLEMS["mlp"]()
    checkpoints = [perturbed(problem.model, c) for c in range(2)]
    attributor = make(problem.task(target=targets.margin, checkpoints=checkpoints))
    assert not attributor.takes_projected
    sources = []
    for c in range(2):
        function = attributor.train_function
        plain = CapturedSource(attributor.task, c, [problem.train], function, lambda g, _: g)
        plain.capture_test([problem.test])
        stores = [
            _stored(tmp_path / f"train-{c}", plain.train(), block=4),
            _stored(tmp_path / f"test-{c}", plain.test(), block=2),
        ]
        batches = ([problem.train], *stores, [problem.test])
        source = StoredSource(attributor.task, c, *batches, represent=attributor.represent)
        assert torch.equal(source.train_values(), plain.train_values())
        sources.append(source)
    wanted = attributor.cache([problem.train]).attribute([problem.train], [problem.test])
    states = [attributor.prepare(source) for source in sources]
    for count in (5, 3):
        some = [source.first_tests(count) for source in sources]
        solved = [attributor.solve(s, state) for s, state in zip(some, states, strict=True)]
        found = np.empty((problem.n, count), dtype=np.float32)
        attributor.scores_into(found, some, solved)
        assert np.allclose(found, wanted[:, :count].numpy(), rtol=1e-5, atol=1e-7)
    own = attributor.self_scores(sources, states).float()
    assert torch.allclose(own, attributor.self_influence([problem.train]), rtol=1e-5)
