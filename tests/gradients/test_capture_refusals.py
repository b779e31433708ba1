"""Functions that are no sum over samples, and numbers that are not finite, are refused in words."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwater import AttributionTask
from headwater.gradients import GradientCapture
from tests.awkward_models import TinyMLP
from tests.problems import DTYPE, PROBLEMS, cross_entropy, randomised, split


def test_a_loss_with_statistics_over_the_batch_is_refused() -> None:
    problem = PROBLEMS["mlp"]()

    def centred(model, batch):
        losses = cross_entropy(model, batch)
        return losses * losses.mean()

    task = problem.task(loss=centred)
    with pytest.raises(ValueError, match="must not depend on the others in its batch"):
        GradientCapture(task.bind(), centred)(problem.train)


def test_a_loss_divided_by_the_batch_size_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    divided = lambda model, batch: cross_entropy(model, batch) / len(batch[1])  # noqa: E731
    task = problem.task(loss=divided)
    with pytest.raises(ValueError, match="loss divided by the batch size"):
        GradientCapture(task.bind(), divided)(problem.train)


def test_a_first_batch_of_one_sample_hides_nothing() -> None:
    problem = PROBLEMS["mlp"]()
    divided = lambda model, batch: cross_entropy(model, batch) / len(batch[1])  # noqa: E731
    task = problem.task(loss=divided)
    capture = GradientCapture(task.bind(), divided)
    one, two, rest = split(problem.train, [1, 1, 7])
    capture(one)
    capture(two)
    with pytest.raises(ValueError, match="loss divided by the batch size"):
        capture(rest)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reduced_loss_is_refused(reduction: str) -> None:
    problem = PROBLEMS["mlp"]()
    reduced = lambda model, batch: F.cross_entropy(  # noqa: E731
        model(batch[0]), batch[1], reduction=reduction
    )
    task = problem.task(loss=reduced)
    with pytest.raises(ValueError, match=r"one value per sample.*got \(\).*reduction='none'"):
        GradientCapture(task.bind(), reduced)(problem.train)


@pytest.mark.parametrize("row", [0, 4])
def test_a_nan_in_the_data_names_the_sample(row: int) -> None:
    problem = PROBLEMS["mlp"]()
    x = problem.train[0].clone()
    x[row, 2] = torch.nan
    task = problem.task()
    with pytest.raises(ValueError, match=f"NaN or infinity at sample {row};"):
        GradientCapture(task.bind(), task.loss)((x, problem.train[1]))


def test_an_infinite_gradient_names_the_sample_although_the_value_is_finite() -> None:
    model = randomised(TinyMLP().to(DTYPE), seed=0)
    x = torch.rand(4, 5, dtype=DTYPE)
    x[2] = 0.0  # √0 is finite, its derivative is not
    task = AttributionTask(model, lambda model, x: (model(x)[:, 0] * x.sum(1)).abs().sqrt())
    with pytest.raises(ValueError, match=r"gradient.* at sample 2;"):
        GradientCapture(task.bind(), task.loss)(x)


def test_an_infinite_input_of_a_layer_is_refused_although_the_value_is_finite() -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).to(DTYPE)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
    x = torch.tensor([[1.0], [2.0], [-torch.inf]], dtype=DTYPE)
    task = AttributionTask(model, lambda model, x: model(x)[:, 0])
    with pytest.raises(ValueError, match="at sample 2;"):
        GradientCapture(task.bind(), task.loss)(x)


def test_a_norm_without_statistics_of_its_own_is_refused() -> None:
    layers = [nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)]
    problem = PROBLEMS["mlp"]()
    # Of one sample there is no variance: a norm over positions, which are those of all samples.
    model = nn.Sequential(*layers).to(DTYPE)
    batch = (problem.train[0][:, None].repeat(1, 2, 1) + torch.rand(9, 2, 5), problem.train[1])
    loss = lambda model, b: cross_entropy(  # noqa: E731
        lambda x: model(x.flatten(0, 1)).unflatten(0, (-1, 2)).mean(1), b
    )
    task = AttributionTask(model, loss)
    with pytest.raises(ValueError, match="look for statistics over the batch"):
        GradientCapture(task.bind(), loss)(batch)


def test_a_sample_is_named_by_its_place_in_all_batches() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss)
    first, second = split(problem.train, [4, 5])
    capture(first)
    second[0][3, 1] = torch.inf
    with pytest.raises(ValueError, match="NaN or infinity at sample 7;"):
        capture(second, first_row=4)


def test_a_refused_batch_leaves_the_rules_as_they_were() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss)
    broken = problem.train[0].clone()
    broken[1] = torch.nan
    with pytest.raises(ValueError, match="at sample 1;"):
        capture((broken, problem.train[1]))
    capture(problem.train)
    assert capture.without_rule == ()


@pytest.mark.parametrize(
    "value",
    [
        lambda model, batch: model(batch[0]),
        lambda model, batch: model(batch[0]).sum(),
        lambda model, batch: float(model(batch[0]).sum()),
    ],
    ids=["a row", "a sum", "a number"],
)
@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_function_without_one_value_per_sample_is_refused(value, n: int) -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(loss=value)
    with pytest.raises(ValueError, match="must return one value per sample"):
        GradientCapture(task.bind(), value)(split(problem.train, [n, 9 - n])[0])


def _always_drops(model, batch):
    return cross_entropy(lambda x: F.dropout(model(x)), batch)


def _noisy_inputs(model, batch):
    return cross_entropy(model, (batch[0] + torch.randn_like(batch[0]), batch[1]))


@pytest.mark.parametrize(
    ("value", "n"), [(_always_drops, 9), (_noisy_inputs, 9), (_noisy_inputs, 1)]
)
def test_a_forward_pass_that_is_not_deterministic_is_refused(value, n: int) -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(loss=value)
    with pytest.raises(ValueError, match=r"same values for the same samples, .* random numbers"):
        GradientCapture(task.bind(), value)(split(problem.train, [n, 9 - n])[0])


def test_a_loss_that_compares_samples_is_refused() -> None:
    def contrastive(model, batch):
        z = F.normalize(model(batch[0]), dim=1)
        return F.cross_entropy(z @ z.T, torch.arange(len(z)), reduction="none")

    problem = PROBLEMS["mlp"]()
    task = problem.task(loss=contrastive)
    with pytest.raises(ValueError, match=r"not depend on the others.* a contrastive loss"):
        GradientCapture(task.bind(), contrastive)(problem.train)


def _without_graph(model, batch):
    with torch.no_grad():
        return cross_entropy(model, batch)


def _errors(model, batch):
    return (model(batch[0]).argmax(1) != batch[1]).to(DTYPE)


@pytest.mark.parametrize("value", [_without_graph, _errors])
def test_a_value_without_a_gradient_is_refused(value) -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(loss=value)
    with pytest.raises(ValueError, match=r"differentiable .*look for torch.no_grad\(\)"):
        GradientCapture(task.bind(), value)(problem.train)


def test_layers_that_the_forward_pass_does_not_use_are_refused() -> None:
    problem = PROBLEMS["mlp"]()
    model = nn.ModuleDict({"used": problem.model, "unused": nn.Linear(2, 2).to(DTYPE)})
    loss = lambda model, batch: cross_entropy(model["used"], batch)  # noqa: E731
    task = AttributionTask(model, loss, layers="unused")
    with pytest.raises(ValueError, match="layers that the forward pass does not use"):
        GradientCapture(task.bind(), loss)(problem.train)
    both = AttributionTask(model, loss)
    found = GradientCapture(both.bind(), loss)(problem.train).dense()
    unused = [name.startswith("unused") for name in both.layout.names]
    for name, is_unused in zip(both.layout.names, unused, strict=True):
        assert bool((found[:, both.layout.slices[name]] == 0).all()) == is_unused


def test_a_value_of_whole_numbers_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    errors = lambda model, batch: (model(batch[0]).argmax(1) != batch[1]).long()  # noqa: E731
    task = problem.task(loss=errors)
    with pytest.raises(ValueError, match=r"floating point numbers, got torch.int64"):
        GradientCapture(task.bind(), errors)(problem.train)


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trainable parameters, got none .*requires_grad_\(\)"):
        AttributionTask(nn.Linear(3, 2).requires_grad_(False), cross_entropy)
