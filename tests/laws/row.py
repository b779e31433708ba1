"""What a row of the table of attributors says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors import Attributor, InfluenceFunction
from headwater.curvature import Curvature
from headwater.solvers import ConjugateGradient, Solver
from tests import reference
from tests.problems import Problem

DAMPING = 3.0
"""More than the most negative eigenvalue of the Hessians of the problems."""
Models = Sequence[nn.Module]
Twin = Callable[[Problem, Models], Tensor]
One = Callable[[Problem, nn.Module], Tensor]
"""Scores, or a matrix, at one model."""


@dataclass(frozen=True)
class Row:
    """An attributor, how it is made, and its promises.

    Args:
        kind: the class.
        make: makes it for a task, the order its checkpoints come in, and a damping.
        twin: the scores by loops and dense matrices, from the models at the checkpoints.
        checkpoints: how many the laws are tested with.
        problem: what the laws are tested on.
        margin: whether it explains the margin only.
        any_order: whether permuted checkpoints must give the same scores.
        any_sample_order: whether permuted training samples must permute the scores (not where labels
            are drawn by the place of a sample).
        leave_one_out: the least correlation with true leave-one-out on a convex problem.
        informed: whether it promises to agree with retraining at all; a baseline does not.
        positive: whether self-influence is never negative.
        suspects: whether self-influence tells samples apart, and is large for wrong labels.
        refuses: the problems that it is not made for, and what it says then.
        refuses_coarse: what it says of numbers of less than 32 bits, where it is not made for them.
    """

    kind: type[Attributor]
    make: Callable[[AttributionTask, Sequence[int], float], Attributor]
    twin: Twin
    checkpoints: int = 1
    problem: str = "mlp"
    margin: bool = False
    any_order: bool = True
    any_sample_order: bool = True
    leave_one_out: float = 0.2
    informed: bool = True
    positive: bool = True
    suspects: bool = True
    refuses: Mapping[str, str] = field(default_factory=dict)
    refuses_coarse: str | None = None

    def refusal(self, problem: str, dtype: torch.dtype) -> str | None:
        """Return what it says of a problem in a dtype that it is not made for; None: it is."""
        coarse = torch.finfo(dtype).bits < 32
        return self.refuses_coarse if coarse and self.refuses_coarse else self.refuses.get(problem)

    def attributor(
        self,
        problem: Problem,
        checkpoints: Sequence[Any],
        order: Sequence[int] | None = None,
        damping: float = DAMPING,
        **task: Any,
    ) -> Attributor:
        """Make it for a task that it accepts."""
        if self.margin:
            task["target"] = targets.margin
        order = range(len(checkpoints)) if order is None else order
        return self.make(problem.task(checkpoints=checkpoints, **task), order, damping)


def mean(one: Callable[[Problem, nn.Module, int], Tensor]) -> Twin:
    """Average the scores of one checkpoint over all."""

    def twin(problem: Problem, models: Models) -> Tensor:
        return sum(one(problem, m, c) for c, m in enumerate(models)) / len(models)

    return twin


def sides(problem: Problem, model: nn.Module) -> tuple[Tensor, Tensor]:
    target = problem.target or problem.loss
    train = reference.per_sample_gradients(model, problem.loss, problem.train)
    return train, reference.per_sample_gradients(model, target, problem.test)


def cg(damping: float) -> ConjugateGradient:
    """Conjugate gradients as exact as float64 lets them be."""
    return ConjugateGradient(damping, max_iterations=300, tolerance=1e-13)


def damped(matrix: One) -> One:
    """Scores with P = (C + λI)^-1, from C by loops."""
    return lambda problem, model: reference.influence(
        *sides(problem, model), matrix(problem, model), DAMPING
    )


def influence(
    solver: Callable[[float], Solver],
    curvature: Curvature | None,
    scores: One,
    leave_one_out: float = 0.2,
    **promises: Any,
) -> Row:
    """Return the row of the influence function with a curvature (None: the default) and a solver."""
    return Row(
        InfluenceFunction,
        lambda task, order, damping: InfluenceFunction(task, solver(damping), curvature),
        mean(lambda problem, model, _: scores(problem, model)),
        checkpoints=2,
        leave_one_out=leave_one_out,
        **promises,
    )
