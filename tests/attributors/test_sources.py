"""An attributor gives the same scores from stores on disk as from captured gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headwater import targets
from headwater.attributors import TRAK, Attributor, ProjectedInfluence
from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.attributors.scoring import scores_into, self_scores
from headwater.gradients import Gradients, GradientStore, StoreDescription, StoreWriter
from headwater.gradients.source import CapturedSource, GradientSource, StoredSource
from headwater.projections import Kronecker, Rademacher
from tests.groups import train_gradients
from tests.laws import TABLE, Row, sources_of
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
    captured = sources_of(attributor, [problem.train], [problem.test])
    if not isinstance(attributor, GradientAttributor):  # no gradients, no stores
        return list(captured)
    return [
        StoredSource(
            attributor.task,
            source.index,
            split(problem.train, 3),
            _stored(path / f"train-{source.index}", train_gradients(source), block=4),
            _stored(path / f"test-{source.index}", source.test(), block=2),
            function=attributor.train_function,
        )
        for source in captured
    ]


def _scores(
    attributor: Attributor, sources: list[GradientSource], states: list, tests: int
) -> np.ndarray:
    out = np.full((sources[0].n, tests), np.nan, dtype=np.float32)
    pairs = zip(sources, states, strict=True)
    scores_into(attributor, out, sources, (attributor.solve(*pair) for pair in pairs))
    return out


def test_scores_from_stores_are_the_same(row: Row, problem: Problem, tmp_path: Path) -> None:
    checkpoints = [perturbed(problem.model, c) for c in range(row.checkpoints)]
    attributor = row.attributor(problem, checkpoints)
    sources = _from_stores(attributor, problem, tmp_path)
    states = [attributor.prepare(source) for source in sources]
    found = _scores(attributor, sources, states, len(problem.test[0]))
    train = [problem.train]
    wanted = attributor.cache(train).attribute(train, [problem.test])
    assert np.allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
    own = self_scores(attributor, sources, states).float()
    assert torch.allclose(own, attributor.self_influence(train), rtol=1e-5)


def test_a_source_without_test_samples_says_so(tmp_path: Path) -> None:
    problem = PROBLEMS["mlp"]()
    attributor = TABLE["GradDot"].attributor(problem, [problem.model.state_dict()])
    (source,) = sources_of(attributor, [problem.train])
    with pytest.raises(ValueError, match="must have test samples, got none; take it with_tests"):
        source.test()
    train = _stored(tmp_path / "train", train_gradients(source), block=4)
    stored = StoredSource(attributor.task, 0, [problem.train], train, None)
    with pytest.raises(ValueError, match="only self-influence can be computed"):
        stored.test()
    assert self_scores(attributor, [stored], [{}]).shape == (problem.n,)
    with pytest.raises(ValueError, match="out must have one row per training sample, 9 of them"):
        scores_into(
            attributor, np.zeros((10, 5), np.float32), [source.with_tests([problem.test])], [{}]
        )


@pytest.mark.parametrize("block", [1, 4, 9])
def test_the_blocks_of_a_store_change_nothing(block: int, tmp_path: Path) -> None:
    problem = PROBLEMS["mixed"]()
    attributor = TABLE["IF Fisher Woodbury"].attributor(problem, [problem.model.state_dict()])
    (captured,) = sources_of(attributor, [problem.train], [problem.test])
    train = _stored(tmp_path / "train", train_gradients(captured), block)
    test = _stored(tmp_path / "test", captured.test(), block)
    stored = StoredSource(attributor.task, 0, [problem.train], train, test)
    scores = [_scores(attributor, [s], [attributor.prepare(s)], 5) for s in (captured, stored)]
    assert np.allclose(scores[0], scores[1], rtol=1e-5)


def test_values_and_counts_are_known_without_reading_a_gradient(
    tmp_path: Path, monkeypatch
) -> None:
    problem = PROBLEMS["mlp"]()
    source = CapturedSource(problem.task(), 0, split(problem.train, 4))
    store = _stored(tmp_path / "train", train_gradients(source), block=4)
    stored = StoredSource(problem.task(), 0, [problem.train], store, None)
    monkeypatch.setattr(store, "read", lambda b: pytest.fail("a gradient was read"))
    assert stored.n == source.n == problem.n
    losses = problem.task().bind().values(problem.loss, problem.train)
    assert torch.allclose(stored.values(), losses)
    assert torch.equal(stored.values(), source.values())


def test_the_factors_of_what_was_formed_are_captured_anew(tmp_path: Path) -> None:
    problem = PROBLEMS["sequence"]()
    source = CapturedSource(problem.task(), 0, split(problem.train, 4))
    kinds = {term.form()["kind"] for block in source.train_blocks() for term in block.terms}
    assert kinds == {"dense"}, "this problem is one whose gradients are smaller formed"
    assert not source.keeps_factors
    store = _stored(tmp_path / "train", train_gradients(source), block=4)
    stored = StoredSource(problem.task(), 0, split(problem.train, 2), store, None)
    projection = Rademacher(3)
    projected = CapturedSource(
        problem.task(), 0, [problem.train], represent=lambda g, _: g.project(projection)
    )
    for each in (source, stored, projected):
        blocks = list(each.factor_blocks())
        assert any(term.moments() is not None for block in blocks for term in block.terms)
        dense = torch.cat([block.dense() for block in blocks])
        assert torch.allclose(dense, train_gradients(source).dense(), rtol=1e-10, atol=1e-14)
    mlp = PROBLEMS["mlp"]()
    kept = CapturedSource(mlp.task(), 0, [mlp.train])
    assert kept.keeps_factors
    assert next(kept.factor_blocks()) is not None


def test_some_test_samples_are_some_columns(row: Row, problem: Problem) -> None:
    checkpoints = [perturbed(problem.model, c) for c in range(row.checkpoints)]
    attributor = row.attributor(problem, checkpoints)
    sources = sources_of(attributor, [problem.train], split(problem.test, 2))
    states = [attributor.prepare(source) for source in sources]
    wanted = attributor.cache([problem.train]).attribute([problem.train], [problem.test]).numpy()
    for tests in (slice(0, 3), slice(1, 4), slice(0, 5)):
        some = [source.at_tests(tests) for source in sources]
        found = _scores(attributor, list(some), states, tests.stop - tests.start)
        assert np.allclose(found, wanted[:, tests], rtol=1e-4, atol=1e-6 * np.abs(wanted).max())


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
    sources: list[GradientSource] = []
    for c in range(2):
        function = attributor.train_function
        plain = CapturedSource(attributor.task, c, [problem.train], function)
        plain = plain.with_tests([problem.test])
        stores = [
            _stored(tmp_path / f"train-{c}", train_gradients(plain), block=4),
            _stored(tmp_path / f"test-{c}", plain.test(), block=2),
        ]
        batches = ([problem.train], *stores, [problem.test])
        source = StoredSource(attributor.task, c, *batches, represent=attributor.represent)
        assert torch.equal(source.values(), plain.values())
        sources.append(source)
    wanted = attributor.cache([problem.train]).attribute([problem.train], [problem.test])
    states = [attributor.prepare(source) for source in sources]
    for tests in (slice(0, 5), slice(0, 3), slice(2, 4)):
        some = [source.at_tests(tests) for source in sources]
        found = _scores(attributor, some, states, tests.stop - tests.start)
        assert np.allclose(found, wanted[:, tests].numpy(), rtol=1e-5, atol=1e-7)
    own = self_scores(attributor, sources, states).float()
    assert torch.allclose(own, attributor.self_influence([problem.train]), rtol=1e-5)
