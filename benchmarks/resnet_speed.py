"""(d) Methods on a ResNet-9 beside one plain forward and backward over the same samples.

python -m benchmarks.resnet_speed N M THREADS    prints the peak memory of Grad-Dot
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.environment import ROOT
from benchmarks.measure import MB, alternate, peak_memory, ratio_of_medians
from benchmarks.nets import ResNet9
from headwater import AttributionTask
from headwater.attributors import GradDot
from headwater.gradients import GradientCapture
from headwater.projections import Projection, SparseJL
from headwater.targets import cross_entropy

__all__ = ["measure_resnet"]

Loader = DataLoader[tuple[Tensor, ...]]
BATCH = 50
TARGETS = {"capture": 1.5, "grad-dot": 3.0, "sparse": 4.0}
"""How many times as long as the plain passes each may take."""
BUDGET = "1.5GiB"
"""Of the task: what is captured beyond half of it goes to files."""
MEMORY_TARGET_MB = 1.5 * 2**30 / MB
"""What Grad-Dot's process may take beyond its start."""


def measure_resnet(
    n: int, m: int, dimension: int, threads: int, repetitions: int
) -> dict[str, Any]:
    """Time capture, Grad-Dot and projected gradients, and measure Grad-Dot's memory.

    All go over n training and m test samples in the same batches, in turn. Of captured and projected
    gradients nothing is kept.

    Returns:
        Medians in ``seconds`` and their ``ratios`` to the plain passes, by name; ``peak_mb`` of a
        process of its own that takes Grad-Dot, and ``peak_mb_before``.
    """
    model, train, test = _problem(n, m)
    task = AttributionTask(model, cross_entropy, memory_budget=BUDGET)
    batches = [*train, *test]
    sparse = SparseJL(dimension)
    functions: dict[str, Callable[[], Any]] = {
        "plain": lambda: _plain(model, batches),
        "capture": lambda: _capture(task, batches),
        "grad-dot": lambda: GradDot(task).cache(train).attribute(train, test),
        "sparse": lambda: _capture(task, batches, sparse),
    }
    seconds = alternate(functions, repetitions)
    return {
        "n_train": n,
        "n_test": m,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dimension": dimension,
        "batch": BATCH,
        "repetitions": repetitions,
        "seconds": {name: median(found) for name, found in seconds.items()},
        "ratios": {name: ratio_of_medians(seconds[name], seconds["plain"]) for name in TARGETS},
        **_measure_memory(n, m, threads),
    }


def _problem(n: int, m: int) -> tuple[nn.Module, Loader, Loader]:
    """Return the net in evaluation mode, and random images of CIFAR's size with random labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ResNet9().eval()
        inputs, labels = torch.randn(n + m, 3, 32, 32), torch.randint(10, (n + m,))
    train, test = (
        DataLoader(TensorDataset(inputs[rows], labels[rows]), batch_size=BATCH)
        for rows in (slice(n), slice(n, n + m))
    )
    return model, train, test


def _plain(model: nn.Module, batches: Iterable[Any]) -> None:
    for batch in batches:
        model.zero_grad()
        cross_entropy(model, batch).sum().backward()


def _capture(
    task: AttributionTask, batches: Iterable[Any], projection: Projection | None = None
) -> None:
    capture = GradientCapture(task.bind(), task.loss)
    for batch in batches:
        gradients = capture(batch)
        if projection is not None:
            gradients.project(projection)


def _measure_memory(n: int, m: int, threads: int) -> dict[str, float]:
    sizes = [str(n), str(m), str(threads)]
    command = [sys.executable, "-m", "benchmarks.resnet_speed", *sizes]
    found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout)


def main(n: int, m: int, threads: int) -> None:
    """Take Grad-Dot, and print the peak memory."""
    torch.set_num_threads(threads)
    model, train, test = _problem(n, m)
    attributor = GradDot(AttributionTask(model, cross_entropy, memory_budget=BUDGET))
    before = peak_memory()
    attributor.cache(train).attribute(train, test)
    print(json.dumps({"peak_mb": peak_memory() / MB, "peak_mb_before": before / MB}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
