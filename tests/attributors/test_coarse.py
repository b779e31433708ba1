"""Methods on models in bfloat16, whose own losses are rounded to it."""

from __future__ import annotations

import pytest
import torch

from headwater import AttributionTask, targets
from headwater.attributors import TRAK, DataValueEmbedding, InfluenceFunction
from headwater.curvature import KFAC, MarginGaussNewton
from headwater.solvers import ArnoldiProjection, Eigenbasis, Woodbury
from headwater.trajectory import Step
from tests.precision import SCORES
from tests.problems import PROBLEMS, Problem

COARSE = torch.bfloat16
METHODS = {
    "margin": lambda task: InfluenceFunction(task, Woodbury(3.0), MarginGaussNewton()),
    "sampled labels": lambda task: InfluenceFunction(task, Eigenbasis(3.0), KFAC()),
    "a step that is too long": lambda task: DataValueEmbedding(
        task, [Step(task.checkpoints[0], 5.0)] * 2
    ),
}


def coarse() -> Problem:
    return PROBLEMS["mlp"]().to(COARSE)


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_that_is_rounded_is_still_a_cross_entropy(name: str) -> None:
    problem = coarse()
    found, wanted = (
        METHODS[name](p.task()).cache([p.train]).attribute([p.train], [p.test])
        for p in (problem, problem.to(torch.float64))
    )
    assert problem.loss(problem.model, problem.train).dtype == COARSE
    error = (found - wanted).abs().max() / wanted.abs().max()
    assert float(error) < SCORES[COARSE]


def test_another_loss_is_still_refused() -> None:
    problem = coarse()
    twice = lambda model, batch: 1.2 * problem.loss(model, batch)  # noqa: E731
    task = AttributionTask(problem.model, twice)
    for curvature, solver in ((MarginGaussNewton(), Woodbury(1.0)), (KFAC(), Eigenbasis(1.0))):
        with pytest.raises(ValueError, match="cross-entropy"):
            InfluenceFunction(task, solver, curvature).cache([problem.train])


def test_a_learned_projection_needs_fine_products() -> None:
    problem = coarse()
    task = problem.task(target=targets.margin)
    with pytest.raises(ValueError, match=r"32 bits at least, got a model in torch.bfloat16.*load"):
        TRAK(task, ArnoldiProjection(4), damping=1.0).cache([problem.train])
