"""Rows of TRAK."""

from __future__ import annotations

from torch import Tensor

from headwater import targets
from headwater.attributors import TRAK
from headwater.projections import Rademacher
from tests import reference
from tests.laws.row import Models, Row
from tests.problems import Problem


def _trak(checkpoints: int, dimension: int = 4, damping: float = 1e-3) -> Row:
    projection = Rademacher(dimension, seed=3)

    def twin(problem: Problem, models: Models) -> Tensor:
        products, errors = 0.0, 0.0
        for c, model in enumerate(models):
            train = reference.per_sample_gradients(model, targets.margin, problem.train)
            test = reference.per_sample_gradients(model, targets.margin, problem.test)
            matrix = reference.rademacher_matrix(dimension, train.shape[1], 3, c)
            products += reference.trak(train, test, matrix, damping) / len(models)
            margins = reference.values(model, targets.margin, problem.train)
            errors += reference.error_probabilities(margins) / len(models)
        return products * errors[:, None]

    return Row(
        TRAK,
        lambda task, order, _: TRAK(task, projection, damping),
        twin,
        checkpoints=checkpoints,
        margin=True,
        any_order=False,  # the projection belongs to the place of the checkpoint
    )


TABLE = {
    "TRAK-1": _trak(1),
    "TRAK-3": _trak(3),
}
