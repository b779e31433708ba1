"""How fast this machine does what plans count: a training step, a pass, a capture, a matrix product."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from headwater.benchmark.plan import COUNTED, samples_of, task_of, training_of
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training.draws import initial_model
from headwater.benchmark.training.run import Run
from headwater.gradients import GradientCapture
from headwater.projections import GradientProjection

__all__ = ["Captured", "Rates", "probe"]

SIZE = 768
"""Rows and columns of the matrices that are multiplied."""
MORE = 16
"""Samples beyond the first two whose gradients are captured."""
MANY, LITTLE = 512, 0.02
"""Samples of a pass, where a few take less than so many seconds."""
ENOUGH = 0.25
"""Seconds after which nothing is repeated."""


class Captured(NamedTuple):
    """What is captured for a store: the function, and the projection that follows, if any."""

    function: str
    projection: GradientProjection | None


@dataclass(frozen=True)
class Rates:
    """Seconds of this machine, with one thread.

    Args:
        step: of a training step; NaN where training is a loop of its own.
        operation: of one multiplication or addition of a matrix product, float32 and float64 in turn.
        passed: of one in a forward and backward pass of the model, whose products may be small.
        captures: of each store: seconds before the first sample, and for each.
    """

    step: float
    operation: float
    passed: float
    captures: Mapping[str, tuple[float, float]]


def probe(name: str, device: torch.device, stores: Mapping[str, Captured]) -> Rates:
    """Measure a setting's model on random samples, with one thread, for a few seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        known: dict[Captured, tuple[float, float]] = {}
        for what in stores.values():
            if what not in known:
                known[what] = _capture(name, what, device)
        captures = {key: known[what] for key, what in stores.items()}
        return Rates(_step(name, device), _operation(device), _passed(name, device), captures)
    finally:
        torch.set_num_threads(threads)


def _step(name: str, device: torch.device) -> float:
    setting = get_setting(name)
    if not isinstance(setting.recipe, Recipe):
        return float("nan")
    inputs, labels = (t.to(device) for t in samples_of(setting, 4 * setting.recipe.batch_size))
    run = Run(setting, inputs, labels, 0, torch.arange(len(labels)))
    draws = itertools.cycle(list(run.draws(1)))
    return _seconds(lambda: run.advance([next(draws)]), device)


def _passed(name: str, device: torch.device) -> float:
    setting = get_setting(name)
    inputs, labels = (t.to(device) for t in samples_of(setting, MANY))
    model = initial_model(setting, 0, inputs).eval()

    def work(n: int) -> None:
        setting.loss(model, (inputs[:n], labels[:n])).sum().backward()

    n, took = MORE, _seconds(partial(work, MORE), device)
    if took < LITTLE:  # of small models: what a call costs by itself must not count
        n, took = MANY, _seconds(partial(work, MANY), device)
    return took / n / training_of(name).pass_


def _capture(name: str, what: Captured, device: torch.device) -> tuple[float, float]:
    """Return the seconds before the first sample, and of each: from few samples and from more."""
    setting = get_setting(name)
    inputs, labels = (t.to(device) for t in samples_of(setting, COUNTED + MORE))
    task = task_of(setting, what.function, inputs)
    capture = GradientCapture(task.bind(0), task.target)

    def work(n: int) -> None:
        found = capture((inputs[:n], labels[:n]))
        if what.projection is not None:
            found.project(what.projection.for_checkpoint(0))

    start = time.process_time()
    work(COUNTED)  # it looks at the model as well
    first = time.process_time() - start
    few = _seconds(lambda: work(COUNTED), device)
    many = _seconds(lambda: work(COUNTED + MORE), device) if few < 1 else few * (1 + MORE / COUNTED)
    each = max(many - few, 0.1 * many) / MORE
    return max(0.0, first - COUNTED * each), each


def _operation(device: torch.device) -> float:
    dtypes = (torch.float32, torch.float64)
    times = []
    for dtype in dtypes:
        matrix = torch.ones(SIZE, SIZE, dtype=dtype, device=device)
        times.append(_seconds(partial(torch.matmul, matrix, matrix), device))
    return sum(times) / len(times) / (2 * SIZE**3)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the least of a few times, of one if that takes long; others' work on a CPU is not in it."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    least, spent = float("inf"), 0.0
    while spent < ENOUGH:
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        last = clock() - start
        least, spent = min(least, last), spent + last
    return least
