"""(a) Gradient capture beside one plain forward and backward over the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import alternate, ratio_of_medians, timed
from benchmarks.problem import SETTING, make_task
from headwater.gradients import GradientCapture, Gradients

__all__ = ["measure_capture"]

Batches = Sequence[tuple[Tensor, Tensor]]


def measure_capture(
    inputs: Tensor, labels: Tensor, state: dict[str, Tensor], batch: int, repetitions: int
) -> dict[str, Any]:
    """Time the capture of all per-sample gradients, and loss.sum().backward().

    Both go over all samples in the same batches, in turn. Capture keeps what it finds, as an
    attributor does; its probe of the layers, once a checkpoint, is timed apart.

    Returns:
        Medians in seconds, ``ratio`` of capture to plain, and the seconds of the ``probe``.
    """
    batches: Batches = list(zip(inputs.split(batch), labels.split(batch), strict=True))
    capture = _capture(state)
    probe, _ = timed(lambda: capture((inputs[:2], labels[:2])))
    functions: dict[str, Callable[[], Any]] = {
        "plain": _plain(state, batches),
        "capture": lambda: [capture(pair) for pair in batches],
        "probe": lambda: _capture(state)((inputs[:2], labels[:2])),
    }
    seconds = alternate(functions, repetitions)
    return {
        "batch": batch,
        "samples": len(labels),
        "repetitions": repetitions,
        "plain": median(seconds["plain"]),
        "capture": median(seconds["capture"]),
        "probe": median(seconds["probe"]),
        "first_probe": probe,
        "ratio": ratio_of_medians(seconds["capture"], seconds["plain"]),
    }


def _capture(state: dict[str, Tensor]) -> Callable[[Any], Gradients]:
    task = make_task(state)
    return GradientCapture(task.bind(), task.loss)


def _plain(state: dict[str, Tensor], batches: Batches) -> Callable[[], None]:
    with torch.random.fork_rng(devices=[]):
        model = SETTING.make_model().eval()
    model.load_state_dict(state)

    def run() -> None:
        for pair in batches:
            model.zero_grad()
            SETTING.loss(model, pair).sum().backward()

    return run
