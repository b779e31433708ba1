"""Scores of a new sample from the stores: cheap projected ones of all, the chosen ones of the best."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.attributors.scoring import scores_into
from headwater.gradients import GradientStore
from pipelines.query.made import Made
from pipelines.query.prepared import prepared
from pipelines.query.ranking import both_ends
from pipelines.query.sample import predicted
from pipelines.query.source import NewSource, at_rows, scores_rows
from stages.device import resolve_device
from stages.methods import Problem
from stages.problem import batches
from stages.task import make_projection

__all__ = ["Scored", "answer", "cheap_method"]


@dataclass(frozen=True)
class Scored:
    """The scores of one new sample.

    Attributes:
        method: whose scores they are.
        function: what they explain.
        value: of that function at the sample, the mean over the method's checkpoints.
        labels: that were explained, (1, ...).
        rows: the training samples that have one, ascending.
        scores: one for each of them, in the unit of the function.
        seconds: that it took.
        first: what chose these training samples; None: all have a score.
    """

    method: str
    function: str
    value: float
    labels: Tensor
    rows: NDArray[np.intp]
    scores: NDArray[np.float32]
    seconds: float
    first: Scored | None = None


def cheap_method(made: Made) -> str | None:
    """Return the method on projected gradients with the fewest checkpoints; None: none was made."""
    return made.cheapest(lambda name: made.store(name).form == "projected")


def answer(
    made: Made,
    method: str,
    inputs: Tensor,
    labels: Tensor | None,
    shortlist: int,
    first: str | None,
) -> Scored:
    """Return the scores of a new sample by a method, on the best of another, cheaper one.

    Args:
        made: the artifacts of its setting.
        method: whose scores are wanted.
        inputs: of the sample, (1, ...).
        labels: (1, ...); None: the class that the method's models predict.
        shortlist: how many training samples get a score: half of them the first method's strongest
            proponents, half its strongest opponents.
        first: the method that chooses them; None: all training samples get a score.
    """
    problem = _Explained(made, method)
    if labels is None:
        labels = predicted(problem.attributor.task, inputs, made)
    if first in (None, method) or shortlist >= len(made.train[1]):
        return problem.score(inputs, labels, None, None)
    chosen = _Explained(made, str(first)).score(inputs, labels, None, None)
    rows = both_ends(chosen.scores, chosen.function, shortlist)
    return problem.score(inputs, labels, rows, chosen)


class _Explained:
    """A method with what the workflow made for it."""

    def __init__(self, made: Made, name: str) -> None:
        self.made, self.name = made, name
        choice, recipe = made.choice(name), made.method(name)
        device = resolve_device(made.params.settings[made.name].device)
        self.function = str(choice["function"])
        self.problem = Problem(made.data, made.models, made.gradients(name), recipe.count, device)
        where = f"methods.{name}"
        self.attributor: Attributor = self.problem.attributor(recipe, choice["arguments"], where)

    def score(
        self, inputs: Tensor, labels: Tensor, rows: NDArray[np.intp] | None, first: Scored | None
    ) -> Scored:
        start = time.perf_counter()
        device = self.problem.device
        sources = self._sources((inputs.to(device), labels.to(device)))
        n = len(self.made.train[1])
        kept = np.arange(n) if rows is None else rows
        some = torch.from_numpy(kept)
        restricted = rows is not None and scores_rows(self.attributor)
        with prepared(self.made, self.name, self.attributor, sources) as states:
            solved = (
                self.attributor.solve(source, state)
                for source, state in zip(sources, states, strict=True)
            )
            if restricted:
                solved = (at_rows(state, some) for state in solved)
                scores = np.empty((len(kept), 1), np.float32)
                scores_into(self.attributor, scores, [s.at_rows(some) for s in sources], solved)
            else:
                scores = np.empty((n, 1), np.float32)
                scores_into(self.attributor, scores, sources, solved)
                scores = scores[kept]
        value = self._value((inputs.to(device), labels.to(device)))
        seconds = time.perf_counter() - start
        return Scored(self.name, self.function, value, labels, kept, scores[:, 0], seconds, first)

    def _sources(self, sample: tuple[Tensor, Tensor]) -> list[NewSource]:
        """Return one source per checkpoint, with the sample as its only test sample."""
        train, made = batches(*self.problem.split("train")), self.made
        projection = make_projection(
            made.store(self.name), f"stores.{made.method(self.name).store}"
        )
        return [
            NewSource(
                self.attributor,
                index,
                train,
                GradientStore(
                    self.problem.gradients / "train" / f"{index:02d}", device=self.problem.device
                ),
                [sample],
                projection,
            )
            for index in range(self.problem.count)
        ]

    def _value(self, sample: tuple[Tensor, Tensor]) -> float:
        task = self.attributor.task
        with torch.no_grad():
            found = [
                task.bind(index).values(task.target, sample) for index in range(self.problem.count)
            ]
        return float(torch.stack(found).mean())
