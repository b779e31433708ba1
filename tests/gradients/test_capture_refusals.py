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
