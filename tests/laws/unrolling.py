"""The row of unrolled differentiation."""

from __future__ import annotations

from torch import Tensor, nn

from headwater.attributors import Unrolling
from tests import reference
from tests import reference_trajectory as slow
from tests.laws.data_value import DECAY, PATH, loss_gradients, scaled, steps_to
from tests.laws.row import Models, Row, sides
from tests.problems import Problem


def _one(problem: Problem, model: nn.Module) -> Tensor:
    steps, matrices = [], []
    for scale, rate in PATH:
        then = reference.at(model, scaled(model.state_dict(), scale))
        steps.append((loss_gradients(problem, then), range(problem.n), rate, DECAY))
        matrices.append(reference.hessian(then, problem.loss, problem.train))
    _, test = sides(problem, model)
    return slow.unrolled(steps, matrices) @ test.T


def _twin(problem: Problem, models: Models) -> Tensor:
    return sum(_one(problem, model) for model in models) / len(models)


TABLE = {
    "Unrolling": Row(
        Unrolling,
        lambda task, order, _: Unrolling(task, [steps_to(c) for c in task.checkpoints]),
        _twin,
        checkpoints=2,
        positive=False,  # the gradients of two places on the way need not agree
    )
}
