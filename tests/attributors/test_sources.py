"""An attributor gives the same scores from stores on disk as from captured gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headwater.attributors import Attributor
from headwater.attributors.source import CapturedSource, GradientSource, StoredSource
from headwater.gradients import Gradients, GradientStore, StoreDescription, StoreWriter, concatenate
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
