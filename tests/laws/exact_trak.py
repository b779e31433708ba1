"""The row of TRAK without a projection."""

from __future__ import annotations

from torch import Tensor

from headwater import targets
from headwater.attributors import ExactTRAK
from tests import reference
from tests.laws.row import DAMPING, Models, Row
from tests.problems import Problem


def _twin(problem: Problem, models: Models) -> Tensor:
    products, errors = 0.0, 0.0
    for model in models:
        train = reference.per_sample_gradients(model, targets.margin, problem.train)
        test = reference.per_sample_gradients(model, targets.margin, problem.test)
        margins = reference.values(model, targets.margin, problem.train)
        error = reference.error_probabilities(margins)
        curvature = reference.fisher(train, (error * (1.0 - error)).sqrt())
        products -= reference.influence(train, test, curvature, DAMPING) / len(models)
        errors += error / len(models)
    return products * errors[:, None]


TABLE = {
    "ExactTRAK": Row(
        ExactTRAK,
        lambda task, order, damping: ExactTRAK(task, damping),
        _twin,
        checkpoints=3,
        margin=True,
        leave_one_out=0.9,
    )
}
