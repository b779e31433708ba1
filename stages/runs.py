"""What attributors that follow a training run take of it: given by name in `stages.methods`."""

from __future__ import annotations

from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import Replay
from stages.methods import Problem
from stages.problem import training_record

__all__ = ["first_run", "learning_rates", "training_runs"]


def learning_rates(problem: Problem) -> list[float]:
    """Return the learning rate in force at each checkpoint."""
    family = training_record(problem.models)["families"][problem.store["checkpoints"]]
    return [float(checkpoint["learning_rate"]) for checkpoint in family[: problem.count]]


def training_runs(problem: Problem) -> list[Replay]:
    """Return the first runs of stage train, from their seeds."""
    record, samples = training_record(problem.models), problem.split("train")
    setting = get_setting(record["setting"])
    return [Replay(setting, *samples, seed) for seed in record["seeds"][: problem.count]]


def first_run(problem: Problem) -> Replay:
    """Return the first run of stage train."""
    return training_runs(problem)[0]
