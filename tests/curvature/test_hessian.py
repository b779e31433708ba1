"""Products with the Hessian are products with the Hessian, however the data comes in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headwater import AttributionTask
from headwater.curvature import Hessian, streamed
from tests import reference
from tests.problems import PROBLEMS, Logistic, Ridge, perturbed, split


@pytest.fixture(params=PROBLEMS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def _operator(name: str, size: int | list[int] = 100, **arguments) -> Hessian:
    problem = PROBLEMS[name]()
    task = problem.task(**arguments)
    return Hessian(task.bind(), task.loss, split(problem.train, size))


def _wanted(name: str) -> torch.Tensor:
    problem = PROBLEMS[name]()
    return reference.hessian(problem.model, problem.loss, problem.train)


def test_the_dense_hessian_equals_double_backward(name: str) -> None:
    found, wanted = _operator(name).dense(), _wanted(name)
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12), name
    assert torch.allclose(found, found.T, rtol=1e-10, atol=1e-12), f"{name}: not symmetric"


def test_vectors_columns_and_rows(name: str) -> None:
    operator, wanted = _operator(name), _wanted(name)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(operator.size, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(operator @ v, wanted @ v, atol=1e-10)
    assert torch.allclose(operator @ v[:, 0], wanted @ v[:, 0], atol=1e-10)
    assert torch.allclose(operator.apply(v.T), (wanted @ v).T, atol=1e-10)
    assert (operator @ v[:, :0]).shape == (operator.size, 0)


@pytest.mark.parametrize("sizes", [1, 2, [5, 4], [1, 6, 2]], ids=str)
def test_the_batches_change_nothing(name: str, sizes: int | list[int]) -> None:
    # A mean of batch means would be wrong here: the batches differ in size.
    found = _operator(name, sizes).dense()
    assert torch.allclose(found, _operator(name).dense(), rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("pairs", [1, 5, 10**9])
def test_the_chunk_size_changes_nothing(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _wanted("mlp")
    monkeypatch.setitem(streamed.PAIRS, "cpu", pairs)
    monkeypatch.setitem(streamed.VECTORS, "cpu", 3)
    monkeypatch.setitem(streamed.NUMBERS, "cpu", pairs)
    assert torch.allclose(_operator("mlp").dense(rows=7), wanted, rtol=1e-9, atol=1e-12)


def test_closed_forms() -> None:
    ridge, logistic = Ridge(), Logistic(classes=3)
    for closed, problem in (
        (ridge.hessian(), ridge.problem()),
        (logistic.hessian(logistic.weight), logistic.problem()),
    ):
        task = problem.task()
        found = Hessian(task.bind(), task.loss, split(problem.train, 7)).dense()
        assert torch.allclose(found, closed, rtol=1e-10, atol=1e-12)


def test_layers_restrict_the_hessian_to_a_block() -> None:
    found = _operator("mlp", layers=["head"]).dense()
    task = PROBLEMS["mlp"]().task()
    columns = [
        i
        for n in ("head.weight", "head.bias")
        for i in range(task.layout.size)[task.layout.slices[n]]
    ]
    assert torch.allclose(found, _wanted("mlp")[columns][:, columns], atol=1e-12)


def test_the_hessian_belongs_to_its_checkpoint() -> None:
    problem = PROBLEMS["mlp"]()
    other = perturbed(problem.model, 1)
    task = problem.task(checkpoints=[problem.model.state_dict(), other])
    found = Hessian(task.bind(1), task.loss, [problem.train]).dense()
    wanted = reference.hessian(reference.at(problem.model, other), task.loss, problem.train)
    assert torch.allclose(found, wanted, atol=1e-12)


def test_float32() -> None:
    problem = PROBLEMS["mlp"]()
    batch = (problem.train[0].float(), problem.train[1])
    task = problem.task(checkpoints=[{k: t.float() for k, t in problem.model.state_dict().items()}])
    operator = Hessian(task.bind(), task.loss, [batch])
    assert operator.dtype == torch.float32
    assert torch.allclose(operator.dense().double(), _wanted("mlp"), rtol=1e-3, atol=1e-5)


def test_scipy_sees_the_same_operator() -> None:
    operator, wanted = _operator("mlp"), _wanted("mlp").numpy()
    scipy = operator.to_scipy()
    assert scipy.shape == wanted.shape
    assert scipy.dtype == np.float64
    v = np.random.default_rng(0).standard_normal((operator.size, 2))
    v.flags.writeable = False
    assert np.allclose(scipy @ v, wanted @ v)
    assert np.allclose(scipy @ v[:, 0], wanted @ v[:, 0])
    assert (scipy @ v[:, 0]).shape == (operator.size,)
    assert np.allclose(scipy @ v[::-1, 0], wanted @ v[::-1, 0])


def test_scipys_eigensolver_runs_on_it() -> None:
    from scipy.sparse.linalg import eigsh

    found = eigsh(_operator("logistic").to_scipy(), k=2, return_eigenvectors=False)
    wanted = np.linalg.eigvalsh(_wanted("logistic").numpy())[-2:]
    assert np.allclose(np.sort(found), wanted, rtol=1e-8)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 1, 1)], ids=str)
def test_a_wrong_right_side_is_refused(shape: tuple[int, ...]) -> None:
    operator = _operator("ridge")
    with pytest.raises(ValueError, match=r"must have shape \(3,\) or \(3, m\)"):
        operator @ torch.zeros(4, *shape[1:])


def test_no_samples_are_refused() -> None:
    problem = PROBLEMS["ridge"]()
    task = problem.task()
    with pytest.raises(ValueError, match="needs training samples, got none"):
        Hessian(task.bind(), task.loss, [])


def test_a_krylov_space_builds_the_graph_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def loss(model, batch):
        seen.append(len(batch))
        return model(batch).square().sum(1)

    task = AttributionTask(torch.nn.Linear(3, 2).double(), loss)
    batches = [torch.ones(2, 3).double(), torch.ones(3, 3).double()]
    operator = Hessian(task.bind(), loss, batches)
    for _ in range(4):
        operator @ torch.ones(task.layout.size).double()
    assert seen == [2, 5], "batches that are small together are one chunk, linearised once"
    monkeypatch.setattr(streamed, "KEPT", 100)
    operator, seen[:] = Hessian(task.bind(), loss, batches), []
    operator @ torch.ones(task.layout.size).double()
    operator @ torch.ones(task.layout.size).double()
    assert seen == [2, 2, 3, 2, 3], "a graph that is large is not kept, nor larger than a batch's"


def test_batches_that_differ_beside_their_tensors_stay_apart() -> None:
    def loss(model, batch):
        return batch["weight"] * model(batch["x"]).square().sum(1)

    task = AttributionTask(torch.nn.Linear(3, 2).double(), loss)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    batches = [{"x": x[:2], "weight": 2.0}, {"x": x[2:], "weight": 3.0}]
    parts = [Hessian(task.bind(), loss, [batch]).dense() for batch in batches]
    found = Hessian(task.bind(), loss, batches).dense()
    assert torch.allclose(found, (parts[0] + parts[1]) / 2)


def test_a_linear_function_has_no_curvature() -> None:
    def loss(model, batch):
        return model(batch)[:, 0]

    task = AttributionTask(torch.nn.Linear(3, 2), loss)
    operator = Hessian(task.bind(), loss, [torch.ones(4, 3)])
    assert torch.equal(operator @ torch.ones(8, 2), torch.zeros(8, 2))
    assert torch.equal(operator @ torch.ones(8), torch.zeros(8))
