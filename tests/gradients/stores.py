"""Stores for tests: what they hold, and how they are written and read."""

from __future__ import annotations

from pathlib import Path

from headwater.gradients import (
    GradientCapture,
    Gradients,
    GradientStore,
    StoreDescription,
    StoreWriter,
    concatenate,
)
from tests.problems import PROBLEMS

__all__ = ["DESCRIPTION", "read", "stored_gradients", "write"]

DESCRIPTION = StoreDescription(
    setting="tiny", split="train", function="loss", checkpoint="abc", dtype="float64"
)


def stored_gradients(name: str = "mixed", keep_factors: bool = True) -> Gradients:
    problem = PROBLEMS[name]()
    task = problem.task()
    return GradientCapture(task.bind(), task.loss, keep_factors)(problem.train)


def write(
    path: Path,
    gradients: Gradients,
    description: StoreDescription = DESCRIPTION,
    block: int | None = 4,
) -> StoreWriter:
    writer = StoreWriter(path, description, n=len(gradients), block=block)
    writer.start(gradients)
    for rows in writer.missing():
        writer.write(rows, gradients[rows])
    return writer


def read(path: Path, **arguments) -> Gradients:
    return concatenate(list(GradientStore(path, **arguments).blocks()))
