"""The laws that every attributor obeys, over the table of all attributors."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from headwater import attributors, targets
from headwater.attributors import Attributor
from tests import reference
from tests.laws import TABLE, Row, float64_scores
from tests.laws.batched import BATCHED
from tests.precision import SCORES, TOLERANCE
from tests.problems import PROBLEMS, Problem, perturbed, select, split


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def _checkpoints(row: Row, problem: Problem) -> list[dict[str, Tensor]]:
    return [perturbed(problem.model, seed=c) for c in range(row.checkpoints)]


def _attributor(row: Row, problem: Problem, **more) -> Attributor:
    return row.attributor(problem, _checkpoints(row, problem), **more)


def _to(dtype: torch.dtype, device: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: t.to(device, dtype if t.is_floating_point() else None) for k, t in state.items()}


def _twin(row: Row, problem: Problem) -> Tensor:
    """The scores of the twin, which computes in float64 on the CPU, on the same rounded numbers."""
    wide = problem.to(torch.float64)
    checkpoints = [_to(torch.float64, "cpu", c) for c in _checkpoints(row, problem)]
    return row.twin(wide, [reference.at(wide.model, c) for c in checkpoints])


def _scores(row: Row, problem: Problem, train_size=100, test_size=100, **more) -> Tensor:
    attributor = _attributor(row, problem, **more)
    train, test = split(problem.train, train_size), split(problem.test, test_size)
    return attributor.cache(train).attribute(train, test)


def _assert_close(found: Tensor, wanted: Tensor, tolerance: float, law: str) -> None:
    assert found.shape == wanted.shape, f"{law}: {tuple(found.shape)} for {tuple(wanted.shape)}"
    error = float((found.double().cpu() - wanted.double().cpu()).abs().max())
    largest = float(wanted.abs().max())
    assert error < tolerance * largest, f"{law}: off by {error:.1e} of {largest:.1e}"


def test_every_attributor_has_a_row() -> None:
    methods = set(attributors.method_names())
    assert methods == {row.kind.__name__ for row in TABLE.values()}, "add it to tests/laws"


@pytest.mark.parametrize(
    "name", ["mlp", "shared linear", "weight outside", "mlp with frozen layer"]
)
def test_scores_equal_the_slow_twin(
    row: Row, name: str, device: torch.device, dtype: torch.dtype
) -> None:
    name = row.problem if name == "mlp" else name
    problem = PROBLEMS[name]().to(dtype, device)
    attributor = _attributor(row, problem)
    if refusal := row.refusal(name, dtype):
        with pytest.raises(ValueError, match=refusal):
            attributor.cache([problem.train])
        return
    wanted = _twin(row, problem)
    if dtype == torch.float64:
        found = float64_scores(attributor, split(problem.train, 4), split(problem.test, 3))
        _assert_close(found, wanted, TOLERANCE[dtype], "the fast path is not its twin")
    scores = attributor.cache([problem.train]).attribute([problem.train], [problem.test])
    _assert_close(scores, wanted, SCORES[dtype], "attribute() is not its twin")
    assert scores.dtype == torch.float32
    assert scores.shape == (problem.n, len(problem.test[0]))


@pytest.mark.parametrize("name", BATCHED)
def test_the_batches_change_nothing(
    row: Row, name: str, device: torch.device, dtype: torch.dtype
) -> None:
    batched = BATCHED[name]
    row = dataclasses.replace(row, checkpoints=min(row.checkpoints, batched.checkpoints))
    problem = batched.problem().to(dtype, device)
    made = lambda: _attributor(row, problem, damping=batched.damping)  # noqa: E731
    (train, test), *others = batched.batchings(problem)
    if refusal := row.refusal(name, dtype):
        with pytest.raises(ValueError, match=refusal):
            made().cache(train)
        return
    attributor = made().cache(train)
    wanted, own = attributor.attribute(train, test), attributor.self_influence(train)
    for train, test in others:
        sizes = [len(batch[0]) for batch in train]
        attributor = made().cache(train)
        found = attributor.attribute(train, test)
        _assert_close(found, wanted, SCORES[dtype], f"the scores depend on the batches {sizes}")
        found = attributor.self_influence(train)
        _assert_close(found, own, SCORES[dtype], f"self-influence depends on the batches {sizes}")


def test_any_iterable_of_batches_will_do(row: Row, problem: Problem) -> None:
    wanted = _scores(row, problem)
    data = TensorDataset(*problem.train)
    sampler = BatchSampler(SequentialSampler(data), 4, drop_last=False)
    for loader in (DataLoader(data, batch_size=2), DataLoader(data, batch_sampler=sampler)):
        attributor = _attributor(row, problem).cache(loader)
        found = attributor.attribute(loader, tuple(split(problem.test, 2)))
        _assert_close(found, wanted, 1e-6, "the kind of the loader matters")


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("name", TABLE)
def test_permuted_samples_permute_the_scores(name: str, seed: int) -> None:
    row = TABLE[name]
    problem = PROBLEMS[row.problem]()
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(problem.n, generator=generator)
    if not row.any_sample_order:
        rows = torch.arange(problem.n)
    columns = torch.randperm(len(problem.test[0]), generator=generator)
    permuted = dataclasses.replace(
        problem, train=select(problem.train, rows), test=select(problem.test, columns)
    )
    wanted = _scores(row, problem)[rows][:, columns]
    _assert_close(_scores(row, permuted, 4, 2), wanted, 1e-6, "rows or columns are mixed up")


def test_the_order_of_the_checkpoints_changes_nothing(row: Row, problem: Problem) -> None:
    order = list(reversed(range(row.checkpoints)))
    checkpoints = _checkpoints(row, problem)
    wanted = row.attributor(problem, checkpoints)
    other = row.attributor(problem, [checkpoints[c] for c in order], order)
    train, test = [problem.train], [problem.test]
    found = other.cache(train).attribute(train, test)
    wanted = wanted.cache(train).attribute(train, test)
    if row.any_order or row.checkpoints == 1:
        _assert_close(found, wanted, 1e-6, "the order of the checkpoints matters")
    else:
        assert not torch.allclose(found, wanted), "checkpoints share one projection"


def test_self_influence_is_minus_the_diagonal(row: Row, problem: Problem) -> None:
    same = dataclasses.replace(problem, test=problem.train)
    attributor = _attributor(row, same)
    train = split(problem.train, 4)
    scores = attributor.cache(train).attribute(train, train)
    found = attributor.self_influence(train)
    assert found.shape == (problem.n,)
    assert found.dtype == torch.float32
    wanted = -scores.diagonal()
    if row.margin:  # the target is m, ∇ℓ = -(1-p)∇m, and 1-p is averaged over checkpoints
        wanted = scores.diagonal() * _mean_error(row, problem)
    _assert_close(found, wanted, 1e-5, "self-influence is not the effect on the own loss")
    assert not row.positive or bool((found >= 0).all()), "P is positive, self-influence is not"
    assert not row.suspects or len(torch.unique(found)) > 1, "one value for all"


def _mean_error(row: Row, problem: Problem) -> Tensor:
    models = [reference.at(problem.model, c) for c in _checkpoints(row, problem)]
    margins = [reference.values(model, targets.margin, problem.train) for model in models]
    return torch.stack([reference.error_probabilities(m) for m in margins]).mean(0)


def test_float32_and_float64_agree(row: Row, device: torch.device, dtype: torch.dtype) -> None:
    """Of the same rounded numbers; so does any other dtype that is asked for."""
    narrow = torch.float32 if dtype == torch.float64 else dtype
    problem = PROBLEMS[row.problem]().to(narrow, device)
    if refusal := row.refusal(row.problem, narrow):
        with pytest.raises(ValueError, match=refusal):
            _attributor(row, problem).cache([problem.train])
        return
    found, wanted = [], []
    for scores, wide in ((found, narrow), (wanted, torch.float64)):
        checkpoints = [_to(wide, device, c) for c in _checkpoints(row, problem)]
        same = problem.to(wide, device)
        attributor = row.attributor(same, checkpoints).cache([same.train])
        scores += [
            attributor.attribute([same.train], [same.test]),
            attributor.self_influence([same.train]),
        ]
    for what, one, other in zip(("scores", "self-influence"), found, wanted, strict=True):
        _assert_close(one, other, SCORES[narrow], f"{narrow} loses more of the {what} than it must")


def test_nothing_is_left_behind(row: Row, problem: Problem) -> None:
    before = [t.clone() for t in (*problem.train, *problem.test)]
    problem.model.train()
    state = {name: t.clone() for name, t in problem.model.state_dict().items()}
    random = torch.get_rng_state()
    first = _scores(row, problem)
    assert torch.equal(torch.get_rng_state(), random), "the global generator was used"
    assert all(map(torch.equal, (*problem.train, *problem.test), before)), "the data was changed"
    assert all(torch.equal(t, state[k]) for k, t in problem.model.state_dict().items())
    assert problem.model.training
    assert torch.equal(_scores(row, problem), first), "two runs differ"


def test_a_cached_attributor_answers_many_times(row: Row, problem: Problem) -> None:
    attributor = _attributor(row, problem)
    train = split(problem.train, 5)
    assert attributor.cache(train) is attributor
    wanted = attributor.attribute(train, [problem.test])
    columns = [
        attributor.attribute(train, [select(problem.test, slice(j, j + 1))]) for j in range(5)
    ]
    _assert_close(torch.cat(columns, 1), wanted, 1e-6, "test samples see each other")
    attributor.self_influence(train)
    assert torch.equal(attributor.attribute(train, [problem.test]), wanted)


def test_layers_restrict_the_scores(row: Row, problem: Problem) -> None:
    frozen = PROBLEMS[row.problem]()
    *_, (last, _) = frozen.model.named_children()
    for name, parameter in frozen.model.named_parameters():
        parameter.requires_grad_(name.startswith(last))
    checkpoints = _checkpoints(row, problem)
    found = _scores(row, problem, layers=[last])
    wanted = row.twin(frozen, [reference.at(frozen.model, c) for c in checkpoints])
    _assert_close(found, wanted, 1e-5, "layers= is not the same as freezing the others")
