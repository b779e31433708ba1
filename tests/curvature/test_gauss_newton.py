"""The Gauss-Newton matrix against sums of Jacobians and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.modeling_outputs import SequenceClassifierOutput

from headwater import AttributionTask, memory, targets
from headwater.curvature import GaussNewton, GaussNewtonOperator, Hessian
from tests import reference_curvature as twins
from tests.problems import PROBLEMS, Logistic, Problem, Ridge, select, split

ALL = [name for name in PROBLEMS if name != "tied weights, linear first"]


def _operator(problem: Problem, size: int | list[int] = 4) -> GaussNewtonOperator:
    task = problem.task()
    return GaussNewtonOperator(task.bind(), task.loss, split(problem.train, size))


@pytest.mark.parametrize("name", ALL)
def test_products_are_those_of_the_jacobians(name: str) -> None:
    problem = PROBLEMS[name]()
    operator = _operator(problem)
    wanted = twins.gauss_newton(problem.model, problem.loss, problem.train)
    assert torch.allclose(operator.dense(), wanted, rtol=1e-9, atol=1e-12)
    v = torch.randn(operator.size, 2, dtype=torch.float64)
    assert torch.allclose(operator @ v, wanted @ v, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, [2, 6, 1], 9], ids=str)
def test_the_batches_change_nothing(size) -> None:
    problem = PROBLEMS["mlp"]()
    wanted = _operator(problem, 9).dense()
    assert torch.allclose(_operator(problem, size).dense(), wanted, rtol=1e-12, atol=1e-14)


def test_chunks_of_samples_and_vectors_change_nothing(monkeypatch) -> None:
    problem = PROBLEMS["shared linear"]()
    wanted = _operator(problem).dense()
    monkeypatch.setattr(memory, "CACHED", {"cpu": 256})
    assert torch.allclose(_operator(problem).dense(), wanted, rtol=1e-12, atol=1e-14)


def test_the_mean_over_some_samples_is_that_of_them_alone() -> None:
    problem, samples = PROBLEMS["mlp"](), torch.tensor([0, 3, 5, 8])
    found = _operator(problem, [2, 6, 1]).on(samples)
    chosen = select(problem.train, samples)
    wanted = twins.gauss_newton(problem.model, problem.loss, chosen)
    assert found.n == 4
    assert torch.allclose(found.dense(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("problem", [Ridge(n=9).problem(), Logistic(n=9, classes=3).problem()])
def test_a_linear_model_has_its_hessian(problem: Problem) -> None:
    task = problem.task()
    hessian = Hessian(task.bind(), task.loss, [problem.train]).dense()
    assert torch.allclose(_operator(problem).dense(), hessian, rtol=1e-10, atol=1e-12)


def test_it_is_positive_where_the_hessian_is_not() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    hessian = Hessian(task.bind(), task.loss, [problem.train]).dense()
    assert float(torch.linalg.eigvalsh(hessian)[0]) < -1e-3
    assert float(torch.linalg.eigvalsh(_operator(problem).dense())[0]) > -1e-12


def test_the_loss_may_read_attributes_of_the_model() -> None:
    problem = PROBLEMS["mlp"]()
    model = problem.model

    def loss(model, batch):
        return problem.loss(model, batch) / model.head.out_features

    found = GaussNewtonOperator(AttributionTask(model, loss).bind(), loss, [problem.train])
    assert torch.allclose(found.dense(), _operator(problem).dense() / 3, rtol=1e-10)


def _refuses(model: nn.Module, loss, batch: tuple[Tensor, ...], words: str) -> None:
    task = AttributionTask(model, loss)
    with pytest.raises(ValueError, match=words):
        GaussNewton().check(task.bind(), task, batch)


def test_a_loss_that_does_not_call_the_model_once_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    twice = lambda model, b: (model(b[0]) - model(-b[0])).square().sum(1)  # noqa: E731
    never = lambda model, b: model.body(b[0]).sum(1)  # noqa: E731
    _refuses(problem.model, twice, problem.train, r"calls the model once.*got 2 calls \(Tensor")
    _refuses(problem.model, never, problem.train, r"got 0 calls \(none\); use ExactHessian")


class Wrapped(nn.Module):
    """A model whose output holds its logits."""

    def __init__(self, model: nn.Module, output: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, x: Tensor) -> Any:
        return self.output(self.model(x))


OUTPUTS = {
    "tuple": lambda z: (z, z.exp()),
    "dict": lambda z: {"logits": z, "hidden": z.exp()},
    "ModelOutput": lambda z: SequenceClassifierOutput(logits=z, hidden_states=(z.exp(),)),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_output_may_hold_the_logits_among_others(kind: str) -> None:
    problem = PROBLEMS["mlp"]()
    x, y = problem.train
    task = AttributionTask(Wrapped(problem.model, OUTPUTS[kind]), targets.cross_entropy)
    wanted = twins.gauss_newton(problem.model, problem.loss, problem.train)
    for batch in ((x, y), {"x": x, "labels": y}):
        GaussNewton().check(task.bind(), task, batch)
        found = GaussNewtonOperator(task.bind(), task.loss, [batch]).dense()
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


OTHERS = {
    "tuple": lambda output: output[1],
    "dict": lambda output: output["hidden"],
    "ModelOutput": lambda output: output.hidden_states[0],
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_loss_that_reads_more_than_the_logits_is_refused(kind: str) -> None:
    problem = PROBLEMS["mlp"]()
    loss = lambda model, b: OTHERS[kind](model(b[0]))[:, 0]  # noqa: E731
    model = Wrapped(problem.model, OUTPUTS[kind])
    _refuses(model, loss, problem.train, "the model's logits alone, got none for these alone")


def test_a_model_that_returns_no_logits_is_refused() -> None:
    model = Wrapped(nn.Linear(5, 2, dtype=torch.float64), lambda z: {"hidden": z})
    loss = lambda model, b: model(b[0])["hidden"].square().sum(1)  # noqa: E731
    _refuses(
        model, loss, PROBLEMS["mlp"]().train, r"must return its logits .* got dict with hidden"
    )


def test_a_language_model_of_transformers_has_its_gauss_newton_matrix() -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=1, n_head=2, n_embd=4, vocab_size=5, n_positions=4, bos_token_id=0, eos_token_id=0
    )
    loss = targets.causal(targets.cross_entropy)
    task = AttributionTask(GPT2LMHeadModel(config).double(), loss, layers="*.c_proj")
    tokens = torch.tensor([[1, 2, 3, 0], [4, 1, 0, 0]])
    batch = {"input_ids": tokens, "attention_mask": tokens.ne(0).long()}
    GaussNewton().check(task.bind(), task, batch)
    operator = GaussNewtonOperator(task.bind(), loss, [batch])
    v = torch.randn(2, operator.size, dtype=torch.float64)
    model, layout = task.bind(), task.layout

    def logits(parameters: dict[str, Tensor]) -> Tensor:
        found: list[Tensor] = []
        keep = lambda model, b: found.append(model(**b).logits) or torch.zeros(2)  # noqa: E731
        model.values(keep, batch, parameters)
        return found[0]

    jacobian = torch.func.jacrev(logits)(model.parameters)
    rows = torch.cat([jacobian[name].flatten(3) for name in layout.names], 3)
    wanted = torch.zeros(operator.size, operator.size, dtype=torch.float64)
    p = logits(model.parameters).softmax(2)
    for i, length in enumerate((3, 2)):
        for t in range(length - 1):
            middle = torch.diag(p[i, t]) - torch.outer(p[i, t], p[i, t])
            wanted += rows[i, t].T @ middle @ rows[i, t] / 2
    assert torch.allclose(operator.apply(v), v @ wanted, rtol=1e-8, atol=1e-12)


def test_a_loss_that_reads_the_parameters_is_refused() -> None:
    problem = PROBLEMS["mlp"]()

    def penalised(model, batch):
        return problem.loss(model, batch) + model.head.weight.square().sum()

    changed = {k: t + 1.0 for k, t in problem.model.state_dict().items()}
    task = AttributionTask(problem.model, penalised, checkpoints=changed)
    with pytest.raises(ValueError, match="through the model's logits alone, got another"):
        GaussNewton().check(task.bind(), task, problem.train)


def test_no_samples_are_refused() -> None:
    task = PROBLEMS["mlp"]().task()
    with pytest.raises(ValueError, match="GaussNewtonOperator needs training samples, got none"):
        GaussNewtonOperator(task.bind(), task.loss, [])
