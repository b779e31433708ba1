"""How far the mean of random inner products is from the true ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from headwater.gradients import FactoredGradients, GradientCapture
from tests.problems import Problem


def captured(problem: Problem) -> FactoredGradients:
    """Return the gradients of the loss at the training samples."""
    task = problem.task()
    return GradientCapture(task.bind(), task.loss)(problem.train)


def worst_deviation(draw: Callable[[int], Tensor], wanted: Tensor, seeds: int) -> float:
    """Return the worst |mean - wanted| over seeds, in its own standard errors as estimated."""
    grams = torch.stack([(phi := draw(seed)) @ phi.T for seed in range(seeds)])
    error = grams.std(0) / seeds**0.5
    return float(((grams.mean(0) - wanted).abs() / error.clamp_min(1e-12)).max())
