"""Scores of a data set that is made on the fly and never whole in memory, in a process of its own.

python -m tests.larger_than_memory BUDGET: prints what memory grew by, in bytes, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors import GradDot

N, BATCH, WIDTH, M = 20_000, 500, 4_000, 300


class Generated:
    """Samples drawn anew in each pass, the same every time; 650 MB with their gradients."""

    def __init__(self, n: int) -> None:
        self.n, self.passes = n, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        for start in range(0, self.n, BATCH):
            generator = torch.Generator().manual_seed(start)
            count = min(BATCH, self.n - start)
            x = torch.rand(count, WIDTH, generator=generator)
            yield x, torch.randint(10, (count,), generator=generator)


def main(budget: str) -> None:
    """Cache, attribute into a file, and take self-influence."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, 10))
    task = AttributionTask(model, targets.cross_entropy, memory_budget=budget)
    small = [next(iter(Generated(2)))]
    GradDot(task).cache(small).attribute(small, small)
    train, test = Generated(N), Generated(M)
    before = _peak()
    attributor = GradDot(task).cache(train)
    with TemporaryDirectory() as folder:
        scores = attributor.attribute(train, test, out=Path(folder) / "scores.npy")
        own = attributor.self_influence(train)
        (x, y), rows = next(iter(train)), torch.tensor([0, 100, 499])
        chosen = [(x[rows], y[rows])]
        few = GradDot(task).cache(chosen)
        wanted = few.attribute(chosen, test)
        error = float((scores[rows] - wanted).abs().max() / wanted.abs().max())
        error = max(error, float((own[rows] / few.self_influence(chosen) - 1).abs().max()))
    grown = _peak() - before
    print(json.dumps({"grown": grown, "error": error, "passes": train.passes}))  # noqa: T201


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
