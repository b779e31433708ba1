"""Products with the Hessian are products with the Hessian, however the data comes in batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headwater import AttributionTask, memory
from headwater.curvature import Hessian
from tests import reference
from tests.problems import PROBLEMS, Logistic, Ridge, cross_entropy, perturbed, split


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


def test_layers_whose_second_derivative_takes_one_vector_at_a_time() -> None:
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)
    model = nn.Sequential(*parts).double()
    batch = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    operator = Hessian(AttributionTask(model, cross_entropy).bind(), cross_entropy, [batch])
    wanted = reference.hessian(model, cross_entropy, batch)
    assert torch.allclose(operator.dense(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("numbers", [1, 100, 3000, 10**9])
def test_memory_changes_nothing(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _wanted("mlp")
    monkeypatch.setattr(memory, "CACHED", {"cpu": numbers})
    for sizes in (100, [2, 3, 4]):
        found = _operator("mlp", sizes).dense(rows=7)
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_samples_and_vectors_in_flight_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CACHED", {"cpu": 1000})
    operator, seen = _operator("mlp", [2, 3, 4]), []
    linearised = operator.linearised

    def watched(batch):
        products = linearised(batch)

        def counted(rows):
            seen.append((len(batch[0]), len(rows)))
            return products(rows)

        return counted

    monkeypatch.setattr(operator, "linearised", watched)
    operator.apply(torch.ones(20, operator.size, dtype=torch.float64))
    width = operator._activations
    assert 14 <= width <= 50, "what depends on the parameters of one sample, not the parameters"
    assert max(samples * vectors * width for samples, vectors in seen) <= 1000
    assert max(vectors * operator.size for _, vectors in seen) <= 1000
    assert sum(s * v for s, v in seen) == 9 * 20
    assert {s for s, _ in seen} != {1}, "small batches are joined"


def test_the_trace_is_near_that_of_the_matrix() -> None:
    for name in ("ridge", "mlp"):
        operator, exact = _operator(name), _wanted(name)
        found, scale = operator.trace(probes=400), float(exact.norm())
        assert abs(found - float(exact.trace())) < 3 * (2 / 400) ** 0.5 * scale
        assert operator.trace() == operator.trace(), "other vectors each time"


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
    assert seen == [2, 5], "one look, then all samples in one chunk, linearised once"
    monkeypatch.setattr(memory, "CACHED", {"cpu": 3 * operator._activations})
    operator, seen[:] = Hessian(task.bind(), loss, batches), []
    operator @ torch.ones(task.layout.size).double()
    operator @ torch.ones(task.layout.size).double()
    assert seen == [2, 3, 2, 3, 2], "a graph that is too large is not kept"


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
