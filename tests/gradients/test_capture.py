"""Captured gradients are the gradients, for every model, and the model is left as it was."""

from __future__ import annotations

import copy
from collections import UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from transformers import BatchEncoding

from headwater import AttributionTask, targets
from headwater.gradients import GradientCapture, concatenate, per_sample_gradients
from tests import reference
from tests.awkward_models import Experts
from tests.problems import PROBLEMS, Problem, cross_entropy, perturbed, randomised, split


def _relative(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape, f"shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture(params=PROBLEMS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def problem(name: str) -> Problem:
    return PROBLEMS[name]()


def test_captured_gradients_equal_a_loop_of_autograd(name: str, problem: Problem) -> None:
    task = problem.task()
    found = GradientCapture(task.bind(), task.loss)(problem.train)
    error = _relative(
        found.dense(), reference.per_sample_gradients(problem.model, task.loss, problem.train)
    )
    assert error < 1e-10, f"{name}: off by {error:.2e}"
    expected = reference.values(problem.model, task.loss, problem.train)
    assert torch.allclose(found.values, expected, atol=1e-12), name


def test_captured_target_gradients_equal_a_loop_of_autograd(name: str, problem: Problem) -> None:
    task = problem.task()
    found = GradientCapture(task.bind(), task.target)(problem.test).dense()
    wanted = reference.per_sample_gradients(problem.model, task.target, problem.test)
    assert _relative(found, wanted) < 1e-10, name


def test_vmap_gradients_equal_a_loop_of_autograd(name: str, problem: Problem) -> None:
    task = problem.task()
    found = per_sample_gradients(task.bind(), task.loss, problem.train)
    wanted = reference.per_sample_gradients(problem.model, task.loss, problem.train)
    assert _relative(found, wanted) < 1e-10, name


def test_gradients_in_float32_agree(name: str, problem: Problem) -> None:
    wanted = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    narrow = problem.to(torch.float32)
    task = narrow.task()
    found = GradientCapture(task.bind(), task.loss)(narrow.train).dense()
    assert found.dtype == torch.float32
    assert _relative(found.double(), wanted) < 1e-5, name


@pytest.mark.parametrize("sizes", [1, 2, [2, 7], [5, 3, 1]], ids=str)
def test_gradients_do_not_depend_on_the_batches(
    name: str, problem: Problem, sizes: int | list[int]
) -> None:
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss)
    parts = concatenate([capture(batch) for batch in split(problem.train, sizes)])
    whole = reference.per_sample_gradients(problem.model, task.loss, problem.train)
    assert _relative(parts.dense(), whole) < 1e-10, f"{name} in batches {sizes}"


def test_gradients_at_another_checkpoint(name: str, problem: Problem) -> None:
    other = perturbed(problem.model, seed=7)
    task = problem.task(checkpoints=[problem.model.state_dict(), other])
    found = GradientCapture(task.bind(1), task.loss)(problem.train).dense()
    model = reference.at(problem.model, other)
    wanted = reference.per_sample_gradients(model, task.loss, problem.train)
    assert _relative(found, wanted) < 1e-10, name


def test_the_model_is_left_untouched(name: str, problem: Problem) -> None:
    model = problem.model.train()
    before = copy.deepcopy(model.state_dict())
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss)
    capture(problem.train)
    for module in [*model.modules(), *task.bind().module.modules()]:
        assert not module._forward_hooks, f"{name}: a hook is left on {module}"
    assert model.training, f"{name}: the user's model was put into evaluation mode"
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert all(p.grad is None for p in model.parameters()), f"{name}: .grad was filled"
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), f"{name}: {key} has changed"


def test_hooks_are_removed_when_the_function_fails() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    model = task.bind()
    capture = GradientCapture(model, task.loss)
    capture(problem.train)
    with pytest.raises(RuntimeError):
        capture((problem.train[0][:, :3], problem.train[1]))
    assert not any(module._forward_hooks for module in model.module.modules())


def test_batches_are_left_untouched(name: str, problem: Problem) -> None:
    before = [t.clone() for t in problem.train]
    task = problem.task()
    GradientCapture(task.bind(), task.loss)(problem.train)
    for t, copied in zip(problem.train, before, strict=True):
        assert torch.equal(t, copied), name
        assert not t.requires_grad, name


def test_gradients_are_captured_under_no_grad() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    with torch.no_grad():
        found = GradientCapture(task.bind(), task.loss)(problem.train)
    wanted = reference.per_sample_gradients(problem.model, task.loss, problem.train)
    assert _relative(found.dense(), wanted) < 1e-10
    assert not any(t.requires_grad for t in found.tensors().values()), "the graph is kept alive"


# Selection ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("head", ["head.weight", "head.bias"]),
        (["body.*"], ["body.0.weight", "body.0.bias"]),
        (["head", "neck"], ["neck.weight", "head.weight", "head.bias"]),
    ],
    ids=str,
)
def test_layers_restrict_the_gradients(layers: list[str] | str, names: list[str]) -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(layers=layers)
    assert list(task.layout.names) == names
    found = GradientCapture(task.bind(), task.loss)(problem.train).dense()
    for name, parameter in problem.model.named_parameters():
        parameter.requires_grad_(name in names)
    wanted = reference.per_sample_gradients(problem.model, task.loss, problem.train)
    assert _relative(found, wanted) < 1e-10


# Batches of every kind --------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    x: Tensor
    y: Tensor
    note: str = "passed through"


Pair = namedtuple("Pair", ["x", "y"])
KINDS = {
    "tuple": (lambda x, y: (x, y), lambda b: b),
    "list": (lambda x, y: [x, y], lambda b: b),
    "dict": (lambda x, y: {"x": x, "y": y, "task": None}, lambda b: (b["x"], b["y"])),
    "dataclass": (Sample, lambda b: (b.x, b.y)),
    "named tuple": (Pair, lambda b: (b.x, b.y)),
    "UserDict": (lambda x, y: UserDict(x=x, y=y), lambda b: (b["x"], b["y"])),
    "BatchEncoding": (
        lambda x, y: BatchEncoding({"x": x, "y": y}),
        lambda b: (b["x"], b["y"]),
    ),
    "nested": (lambda x, y: {"inputs": (x,), "y": [y]}, lambda b: (b["inputs"][0], b["y"][0])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_may_have_any_structure(kind: str) -> None:
    make, open_ = KINDS[kind]
    problem = PROBLEMS["mixed" if kind == "tuple" else "mlp"]()
    if kind == "tuple":
        batch, loss = problem.train, problem.loss
    else:
        batch = make(*problem.train)
        loss = lambda model, b: cross_entropy(model, open_(b))  # noqa: E731
    task = AttributionTask(problem.model, loss)
    found = GradientCapture(task.bind(), loss)(batch).dense()
    wanted = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    assert _relative(found, wanted) < 1e-10, kind


# Batches that differ -----------------------------------------------------------------------------


def test_padding_counts_nowhere() -> None:
    problem = PROBLEMS["padded language model"]()
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss, keep_factors=True)
    tokens, labels = problem.train
    whole = capture((tokens, labels))
    order = (tokens != 0).sum(1).argsort()
    parts = []
    for rows in order.split(3):
        length = int((tokens[rows] != 0).sum(1).max())
        parts.append(capture((tokens[rows, :length], labels[rows, :length])))
    joined = concatenate(parts)
    wanted = reference.per_sample_gradients(problem.model, task.loss, problem.train)[order]
    assert _relative(joined.dense(), wanted) < 1e-10
    assert _relative(joined.inner(whole), wanted @ whole.dense().T) < 1e-10
    for one, other in zip(joined.terms, whole.terms, strict=True):
        found, moments = one.moments(), other.moments()
        assert (found is None) == (moments is None)
        if found is not None and moments is not None:
            assert found.positions == moments.positions
            assert _relative(found.inputs, moments.inputs) < 1e-10
            assert _relative(found.outputs, moments.outputs) < 1e-10


def test_rows_that_move_between_samples_are_never_taken_for_fixed_ones() -> None:
    model = randomised(Experts().double(), seed=0)
    loss = lambda model, x: model(x).square().sum((1, 2))  # noqa: E731
    balanced = torch.randn(2, 4, 4, dtype=torch.float64)
    balanced[:, ::2, 0], balanced[:, 1::2, 0] = 1.0, -1.0  # each expert: 2 positions of each
    capture = GradientCapture(AttributionTask(model, loss).bind(), loss)
    capture(balanced)
    assert not capture.without_rule
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.randn(6, 4, 4, dtype=torch.float64)
        wanted = reference.per_sample_gradients(model, loss, x)
        assert _relative(capture(x).dense(), wanted) < 1e-10
    assert "experts.0.weight" in capture.without_rule


def test_samples_without_gradient_do_not_say_where_the_samples_are() -> None:
    problem = PROBLEMS["positions first"]()
    loss = lambda model, b: cross_entropy(model, b[:2]) * b[2]  # noqa: E731
    silent, heard = torch.zeros(9, dtype=torch.float64), torch.ones(9, dtype=torch.float64)
    capture = GradientCapture(AttributionTask(problem.model, loss).bind(), loss)
    assert not capture((*problem.train, silent)).dense().any()
    wanted = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    assert _relative(capture((*problem.train, heard)).dense(), wanted) < 1e-10


def test_an_expert_that_was_not_called_at_first_is_not_forgotten() -> None:
    model = randomised(Experts().double(), seed=0)
    loss = lambda model, x: model(x).square().sum((1, 2))  # noqa: E731
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    x[:3, :, 0], x[3:, :, 0] = 1.0, -1.0
    capture = GradientCapture(AttributionTask(model, loss).bind(), loss)
    parts = [capture(x[:3]), capture(x[3:]), capture(x)]
    for part, batch in zip(parts, (x[:3], x[3:], x), strict=True):
        assert _relative(part.dense(), reference.per_sample_gradients(model, loss, batch)) < 1e-10
    both = torch.cat([x, x])
    wanted = reference.per_sample_gradients(model, loss, both)
    assert _relative(concatenate([*parts[:2], parts[2]]).dense(), wanted) < 1e-10


def test_margin_gradients_are_those_of_the_loss_up_to_the_error_probability() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(target=targets.margin)
    margin = GradientCapture(task.bind(), targets.margin)(problem.train)
    loss = GradientCapture(task.bind(), task.loss)(problem.train)
    factor = -torch.sigmoid(-margin.values)[:, None]
    assert _relative(factor * margin.dense(), loss.dense()) < 1e-10, "∇ℓ = -(1-p)∇m is broken"
