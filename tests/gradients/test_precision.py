"""Rounding is neither taken for a wrong rule nor for a dependence, and hides neither of them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.gradients import RULES, Dense, GradientCapture, Outer, Rule
from tests import reference
from tests.groups import by_group
from tests.precision import assert_close
from tests.problems import PROBLEMS, cross_entropy

COARSE = (torch.bfloat16, torch.float16)
DTYPES = (*COARSE, torch.float32)


class Rounded(nn.Module):
    """Rounds steps up or down, as kernels do that are chosen by the size of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.finfo(x.dtype).eps * (2 if len(x) == 1 else -2)
        return x + x.detach() * steps


def mlp(dtype: torch.dtype, seed: int, scale: float = 1.0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(20, 32), Rounded(), nn.ReLU(), nn.Linear(32, 32), Rounded(), nn.ReLU(),
        nn.Linear(32, 5),
    )  # fmt: skip
    with torch.no_grad():
        model[-1].weight.mul_(scale)
    return model.to(dtype)


def samples(dtype: torch.dtype, n: int = 12) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 20).to(dtype), torch.randint(5, (n,))


# Coarse numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_of_a_coarse_model_has_its_rule(dtype: torch.dtype, seed: int) -> None:
    model, batch = mlp(dtype, seed), samples(dtype)
    task = AttributionTask(model, cross_entropy, targets.margin)
    captures = [
        GradientCapture(task.bind(), f, keep_factors=True) for f in (task.loss, task.target)
    ]
    loss, margin = (capture(batch) for capture in captures)
    for capture, gradients in zip(captures, (loss, margin), strict=True):
        assert capture.without_rule == ()
        assert {type(term) for term in gradients.terms} == {Outer}
        assert gradients.dtype == dtype
    products = loss.inner(margin)
    assert products.dtype == torch.float32, "sums over all parameters need 32 bits"
    assert_close(products, loss.dense().float() @ margin.dense().float().T, dtype)
    wide = copy.deepcopy(model).double()
    wanted = reference.per_sample_gradients(wide, cross_entropy, (batch[0].double(), batch[1]))
    error = (loss.dense().double() - wanted).norm() / wanted.norm()
    assert float(error) < 50 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(10))
def test_samples_without_loss_refuse_nothing(dtype: torch.dtype, seed: int) -> None:
    """Their gradients are all rounding: p - 1 of a probability p that is next to one."""
    model = mlp(dtype, seed, scale=100.0)
    x, _ = samples(dtype)
    with torch.no_grad():
        y = model(x).argmax(1)
    confident = model(x).float().log_softmax(1).amax(1).argsort(descending=True)[:4]
    task = AttributionTask(model, cross_entropy)
    capture = GradientCapture(task.bind(), task.loss)
    capture((x[confident], y[confident]))
    assert capture.without_rule == ()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_large_values_may_be_rounded_more(dtype: torch.dtype, seed: int) -> None:
    model, large = mlp(dtype, seed), lambda model, batch: 1e3 * cross_entropy(model, batch)
    capture = GradientCapture(AttributionTask(model, large).bind(), large)
    capture(samples(dtype))
    assert capture.without_rule == ()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_a_loss_divided_by_the_batch_size_is_refused(dtype: torch.dtype, seed: int) -> None:
    divided = lambda model, batch: cross_entropy(model, batch) / len(batch[1])  # noqa: E731
    task = AttributionTask(mlp(dtype, seed), divided)
    with pytest.raises(ValueError, match="loss divided by the batch size"):
        GradientCapture(task.bind(), divided)(samples(dtype))


def test_the_first_samples_may_be_without_loss() -> None:
    """A loss that is divided by the size of the batch shows on samples that have one."""
    model = mlp(torch.float32, seed=0, scale=1000.0)
    x, _ = samples(torch.float32)
    with torch.no_grad():
        logits = model(x)
        y = logits.argmax(1)
    order = logits.log_softmax(1).amax(1).argsort(descending=True)
    y[order[-2:]] = (y[order[-2:]] + 1) % 5
    divided = lambda model, batch: cross_entropy(model, batch) / len(batch[1])  # noqa: E731
    task = AttributionTask(model, divided)
    with pytest.raises(ValueError, match="loss divided by the batch size"):
        GradientCapture(task.bind(), divided)((x[order], y[order]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_parameters_hide_no_dependence(dtype: torch.dtype) -> None:
    """Each entry of a long gradient is small beside its norm."""
    model = nn.Sequential(nn.Linear(20, 600), nn.ReLU(), nn.Linear(600, 600), nn.Linear(600, 5))
    divided = lambda model, batch: cross_entropy(model, batch) / len(batch[1])  # noqa: E731
    task = AttributionTask(model.to(dtype), divided)
    with pytest.raises(ValueError, match="loss divided by the batch size"):
        GradientCapture(task.bind(), divided)(samples(dtype))


# Wrong rules -----------------------------------------------------------------------------------


def _too_large(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    return Outer(x, e * 1.05, bias)


def _without_last(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    return Outer(x[:, :-1], e[:, :-1], bias)


def _reversed(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    return Outer(x, e.flip(1), bias)


def _of_the_other(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    return Outer(x.flip(0), e.flip(0), bias)


def _without_bias(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Dense:
    term = Outer(x, e, bias)
    return Dense(term.dense() - Outer(x * 0, e, bias).dense(), term.matrix)


WRONG = {
    "five per cent too large": _too_large,
    "the last position forgotten": _without_last,
    "positions mixed up": _reversed,
    "samples mixed up": _of_the_other,
    "bias forgotten": _without_bias,
}


@pytest.mark.parametrize("dtype", [torch.float64, *DTYPES], ids=str)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("width", [4, 400])
def test_a_wrong_rule_is_found_out(
    wrong: str, dtype: torch.dtype, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3)).to(dtype)
    batch = torch.randn(5, 4, 6).to(dtype), torch.randint(3, (5, 4))
    monkeypatch.setitem(RULES, nn.Linear, Rule(WRONG[wrong], 1, 1))
    task = AttributionTask(model, cross_entropy)
    capture = GradientCapture(task.bind(), task.loss)
    found = capture(batch).dense()
    assert set(capture.without_rule) == {name for name, _ in model.named_parameters()}
    wide = copy.deepcopy(model).double()
    wanted = reference.per_sample_gradients(wide, cross_entropy, (batch[0].double(), batch[1]))
    assert_close(found, wanted, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_wrong_rule_is_found_out_in_a_small_part_of_the_gradient(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), nn.LayerNorm(20), nn.Tanh(), nn.Linear(20, 5))
    with torch.no_grad():
        model[3].weight.mul_(0.05)
    right = RULES[nn.LayerNorm]
    twice = lambda module, x, e, bias: right.gradient(module, x * 2, e, bias)  # noqa: E731
    wrong = Rule(twice, 1, 1, prepare=right.prepare)
    monkeypatch.setitem(RULES, nn.LayerNorm, wrong)
    task = AttributionTask(model.to(dtype), cross_entropy)
    capture = GradientCapture(task.bind(), task.loss)
    gradients = capture(samples(dtype))
    assert capture.without_rule == ("1.weight", "1.bias")
    norms = [float(part.squared_norms().sum().sqrt()) for part in by_group(gradients)]
    assert norms[1] < 0.1 * sum(norms), "the part is not small: the test shows nothing"


# Mixed precision -------------------------------------------------------------------------------


def autocast(dtype: torch.dtype) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        with torch.autocast("cpu", dtype):
            return cross_entropy(model, batch)

    return loss


@pytest.mark.parametrize("dtype", COARSE, ids=str)
@pytest.mark.parametrize("name", ["mlp", "sequence", "conv net", "padded language model"])
def test_autocast_inside_the_loss(name: str, dtype: torch.dtype) -> None:
    problem, loss = PROBLEMS[name]().to(torch.float32), autocast(dtype)
    task = AttributionTask(problem.model, loss)
    capture = GradientCapture(task.bind(), loss, keep_factors=True)
    gradients = capture(problem.train)
    assert capture.without_rule == ()
    for term in gradients.terms:
        assert {t.dtype for t in term.tensors().values() if t.is_floating_point()} == {
            torch.float32
        }
    wanted = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    assert_close(gradients.dense(), wanted, dtype)
    vectors = torch.randn(3, gradients.dimension)
    assert_close(gradients.inner_vectors(vectors), gradients.dense() @ vectors.T, torch.float32)
    assert_close(gradients.inner(gradients), gradients.dense() @ gradients.dense().T, torch.float32)
    for term in gradients.terms:
        if (moments := term.moments()) is not None:
            assert moments.inputs.dtype == moments.outputs.dtype == torch.float64


def test_layers_in_other_numbers_than_the_rest() -> None:
    """A head in float32 on a body in bfloat16 keeps its digits."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(20, 8, dtype=torch.bfloat16), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.body(x.bfloat16())).float())

    batch, model = samples(torch.float32), Mixed()
    task = AttributionTask(model, cross_entropy)
    capture = GradientCapture(task.bind(), task.loss)
    found = capture(batch)
    assert capture.without_rule == ()
    assert found.dtype == torch.float32
    wanted = reference.per_sample_gradients(model, cross_entropy, batch)
    assert_close(found.dense(), wanted, torch.bfloat16)
    head = slice(-45, None)
    assert_close(found.dense()[:, head], wanted[:, head], torch.float32)
