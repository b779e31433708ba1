"""The row of Data Value Embedding, without and with a projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headwater.attributors import DataValueEmbedding
from headwater.projections import Projection, Rademacher
from headwater.trajectory import Step
from tests import reference
from tests import reference_trajectory as slow
from tests.laws.row import Models, Row, sides
from tests.problems import Problem

PATH = ((0.7, 0.1), (0.8, 0.3), (0.95, 0.2))
"""How far each step is on the way to the checkpoint, and its learning rate."""
DECAY = 0.05


def scaled(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    return {name: scale * tensor for name, tensor in state.items()}


def steps_to(last: Any) -> list[Step]:
    """Return a short run that ends at a state dict."""
    return [Step(scaled(last, scale), rate, weight_decay=DECAY) for scale, rate in PATH]


def _data_value(projection: Projection | None, **promises: Any) -> Row:
    def twin(problem: Problem, models: Models) -> Tensor:
        (model,) = models
        _, test = sides(problem, model)
        matrix = torch.eye(test.shape[1], dtype=test.dtype)
        if projection is not None:
            matrix = reference.projection_matrix(projection, test.shape[1])
        steps = []
        for scale, rate in PATH:
            then = reference.at(model, scaled(model.state_dict(), scale))
            gradients = loss_gradients(problem, then) @ matrix.T
            steps.append((gradients, range(problem.n), rate, DECAY))
        return slow.data_values(steps, test @ matrix.T)

    return Row(
        DataValueEmbedding,
        lambda task, order, _: DataValueEmbedding(task, steps_to(task.checkpoints[0]), projection),
        twin,
        positive=False,  # the gradients of two places on the way need not agree
        **promises,
    )


def loss_gradients(problem: Problem, model: nn.Module) -> Tensor:
    return reference.per_sample_gradients(model, problem.loss, problem.train)


TABLE = {
    "DataValueEmbedding": _data_value(None),
    "DataValueEmbedding projected": _data_value(Rademacher(6, seed=3)),
}
