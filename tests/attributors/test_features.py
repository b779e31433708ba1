"""The last Linear layer: found or named, its input and output, and functions of its output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors.features import FeatureReader, values_at
from headwater.labels import labels_of
from tests import reference_features as slow
from tests.problems import PROBLEMS, Problem, cross_entropy, split


class Nested(nn.Module):
    """The layer that is called last is not the one that is defined last."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"used": nn.Linear(4, 3, bias=False)})
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True))])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.heads["used"](self.blocks[0](x))
        return logits


def _nested() -> Problem:
    problem = PROBLEMS["mlp"]()
    model = Nested().double()
    return Problem(model, problem.loss, problem.train, problem.test)


@pytest.mark.parametrize("name", ["mlp", "shared linear", "mixed"])
def test_the_last_layer_is_found_and_its_input_kept(name: str) -> None:
    problem = PROBLEMS[name]()
    model = problem.task().bind()
    read = FeatureReader(model, problem.loss)
    parts = [read(batch) for batch in split(problem.train, 4)]
    assert {(part.layer, part.bias) for part in parts} == {("head", True)}
    inputs, outputs = (torch.cat([getattr(p, s) for p in parts]) for s in ("inputs", "outputs"))
    wanted = slow.head_inputs(problem.model, problem.train)
    if name == "mixed":  # there the identity's output is multiplied by a temperature
        wanted = wanted / problem.model.temperature.detach()
    assert torch.allclose(inputs, wanted, rtol=1e-12, atol=1e-14)
    head = problem.model.head
    assert torch.allclose(outputs, nn.functional.linear(wanted, head.weight, head.bias))
    assert not inputs.requires_grad


def test_the_layer_called_last_is_not_the_one_defined_last() -> None:
    problem = _nested()
    model = problem.task().bind()
    found = FeatureReader(model, problem.loss)(problem.train)
    assert (found.layer, found.bias) == ("heads.used", False)
    inner = FeatureReader(model, problem.loss, "blocks.0.0")(problem.train)
    assert torch.equal(inner.inputs, problem.train[0])
    # The ReLU behind it works in place: what is kept is the layer's own output.
    assert bool((inner.outputs < 0).any())
    assert torch.equal(inner.outputs.relu(), found.inputs)


def test_of_a_layer_that_is_called_twice_the_last_call_counts() -> None:
    problem = PROBLEMS["shared linear"]()
    model = problem.task().bind()
    found = FeatureReader(model, problem.loss, "shared")(problem.train)
    assert found.inputs.shape == (problem.n, 4)
    with pytest.raises(ValueError, match=r"must return \(9, 4\), got \(9, 3, 4\) in 'shared'"):
        values_at(model, problem.loss, problem.train, "shared", torch.zeros(problem.n, 4))


def test_a_layer_whose_output_is_replaced_is_called_once() -> None:
    model = nn.Linear(2, 2)
    twice = lambda model, batch: targets.cross_entropy(lambda x: model(model(x)), batch)  # noqa: E731
    task = AttributionTask(model, twice)
    batch = torch.ones(2, 2), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="must be called once, got 2 calls of ''"):
        values_at(task.bind(), twice, batch, "", torch.zeros(2, 2))


@pytest.mark.parametrize("name", ["mlp", "mixed", "weight outside"])
def test_a_function_of_the_logits_is_the_function(name: str) -> None:
    problem, function = PROBLEMS[name](), cross_entropy
    model = problem.task().bind()
    found = FeatureReader(model, function)(problem.train)
    z = found.outputs.requires_grad_()
    values = values_at(model, function, problem.train, "head", z)
    assert torch.allclose(values, model.values(function, problem.train), rtol=1e-14)
    (slopes,) = torch.autograd.grad(values.sum(), z)
    step = 1e-6 * torch.ones_like(slopes).cumsum(1)
    change = values_at(model, function, problem.train, "head", z.detach() + step) - values
    assert torch.allclose(change, (slopes * step).sum(1), rtol=1e-4)


REFUSED = {
    "a layer of another name": ("mlp", "haed", "must name a Linear layer, body.0, neck, head, got"),
    "a layer that is not Linear": ("mlp", "body.1", "must name a Linear layer, .*got 'body.1'"),
    "several positions": (
        "sequence",
        None,
        r"one row per sample, \(9, d\), got \(9, 6, 5\) in 'second'",
    ),
    "positions before samples": ("positions first", "inside", r"one row per sample.*\(3, 9, 4\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    name, layer, message = REFUSED[case]
    problem = PROBLEMS[name]()
    with pytest.raises(ValueError, match=message):
        FeatureReader(problem.task().bind(), problem.loss, layer)(problem.train)
    assert not any(m._forward_hooks for m in problem.task().bind().module.modules())


def test_a_model_without_linear_layer_is_refused() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten())
    task = AttributionTask(model, targets.cross_entropy)
    batch = torch.ones(2, 1, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="need a model with a Linear layer, got none"):
        FeatureReader(task.bind(), task.loss)(batch)


def test_a_layer_that_is_not_called_is_refused() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    loss = lambda model, batch: targets.cross_entropy(model["used"], batch)  # noqa: E731
    task = AttributionTask(model, loss)
    batch = torch.ones(2, 2), torch.tensor([0, 1])
    assert FeatureReader(task.bind(), loss)(batch).layer == "used"
    with pytest.raises(ValueError, match=r"must call the Linear layer .* idle, got no call"):
        FeatureReader(task.bind(), loss, "idle")(batch)


def test_features_that_are_not_finite_name_the_sample() -> None:
    problem = PROBLEMS["mlp"]()
    x = problem.train[0].clone()
    x[7, 1] = torch.inf
    task = problem.task()
    read = FeatureReader(task.bind(), task.loss, layer="body.0")
    first, second, _ = split((x, problem.train[1]), 4)
    read(first)
    with pytest.raises(
        ValueError, match="features must be finite, got NaN or infinity at sample 7"
    ):
        read(second)


def test_all_batches_must_end_in_the_same_layer() -> None:
    model = nn.ModuleDict({"even": nn.Linear(2, 2), "odd": nn.Linear(2, 2)})
    loss = lambda model, batch: model["odd" if len(batch) % 2 else "even"](batch).sum(1)  # noqa: E731
    read = FeatureReader(AttributionTask(model, loss).bind(), loss)
    read(torch.ones(2, 2))
    with pytest.raises(ValueError, match="from one layer for all batches, got 'even' and 'odd'"):
        read(torch.ones(3, 2))


LABELS = {
    "no tuple": (torch.ones(2), "got Tensor"),
    "a dict": ({"x": torch.ones(2), "y": torch.tensor([0, 1])}, "got dict"),
    "floats": ((torch.ones(2), torch.ones(2)), r"ends in a torch.float32 tensor of shape \(2,\)"),
    "a label a position": ((torch.ones(2, 3), torch.ones(2, 3).long()), r"shape \(2, 3\)"),
    "a name": ((torch.ones(2), "task"), "ends in a str"),
}


@pytest.mark.parametrize("case", LABELS)
def test_batches_without_labels_are_refused(case: str) -> None:
    batch, message = LABELS[case]
    with pytest.raises(
        ValueError, match=f"must be .inputs, labels.*{message}.*yield the labels last"
    ):
        labels_of(batch)
