"""(b) Scoring a store on disk beside torch.mm on the same shapes with operands in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import alternate, ratio_of_medians
from benchmarks.problem import make_task
from headwater.attributors import GradDot
from headwater.attributors.scoring import scores_into
from headwater.benchmark.datasets.samples import Samples
from headwater.gradients import (
    GradientCapture,
    Gradients,
    GradientStore,
    StoreDescription,
    StoreWriter,
    write_gradients,
)
from headwater.gradients.source import StoredSource

__all__ = [
    "measure_factored",
    "measure_projected",
    "open_source",
    "write_factored",
    "write_projected",
]

Pair = tuple[Tensor, Tensor]


def write_factored(folder: Path, samples: Samples, state: dict[str, Tensor]) -> None:
    """Write the factored loss gradients of both splits into stores `train` and `test`."""
    task = make_task(state)
    capture = GradientCapture(task.bind(), task.loss)
    splits: dict[str, Pair] = {"train": samples[:2], "test": samples[2:]}
    for split, pair in splits.items():
        description = StoreDescription("mnist-mlp", split, "loss", "benchmark")
        write_gradients(
            folder / split, description, capture, partial(_rows, pair), len(pair[1]), lambda g: g
        )


def _rows(pair: Pair, rows: slice) -> Pair:
    return pair[0][rows], pair[1][rows]


def write_projected(folder: Path, n: int, m: int, dimension: int) -> None:
    """Write random vectors, n and m of them, into projected stores `train` and `test`."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", n), ("test", m)):
        description = StoreDescription(
            "random", split, "loss", "benchmark", "projected", projection=f"{dimension} of none"
        )
        writer = StoreWriter(folder / split, description, count)
        writer.start(Gradients.of_vectors(torch.zeros(1, dimension)))
        for rows in writer.missing():
            vectors = torch.randn(rows.stop - rows.start, dimension, generator=generator)
            writer.write(rows, Gradients.of_vectors(vectors))


def open_source(folder: Path) -> StoredSource:
    """Open both stores; as in a run of its own, no block has been read or checked yet."""
    train, test = (GradientStore(folder / split) for split in ("train", "test"))
    return StoredSource(make_task(), 0, [], train, test)


def measure_factored(folder: Path, repetitions: int) -> dict[str, Any]:
    """Compare with the products of the factors alone: a aᵀ and e eᵀ of every layer."""
    train, test = (next(GradientStore(folder / split).blocks()) for split in ("train", "test"))
    names = [name for name in train.tensors() if name != "values"]
    pairs = [(_matrix(train, name), _matrix(test, name)) for name in names]
    return _measure(folder, pairs, repetitions)


def _matrix(gradients: Gradients, name: str) -> Tensor:
    """Return a copy in memory of a factor, (n, width)."""
    return gradients.tensors()[name].flatten(0, 1).clone()


def measure_projected(folder: Path, repetitions: int) -> dict[str, Any]:
    """Compare with one product of the two matrices of vectors."""
    stores = (GradientStore(folder / split) for split in ("train", "test"))
    train, test = (torch.cat([block.dense() for block in store.blocks()]) for store in stores)
    return _measure(folder, [(train, test)], repetitions)


def _measure(folder: Path, pairs: list[Pair], repetitions: int) -> dict[str, Any]:
    """Time the scoring of a store, and the products of pairs of matrices (n, k), (m, k).

    Returns:
        Medians in seconds, the rates in GFLOP/s that count these products alone, and ``ratio``,
        scoring's rate to that of torch.mm.
    """
    n, m = len(pairs[0][0]), len(pairs[0][1])
    scores, product = np.empty((n, m), np.float32), torch.empty(n, m)
    method = GradDot(make_task())
    # Opening reads a few small JSON files; it is timed apart, as it does not grow with n.
    sources = iter([open_source(folder) for _ in range(repetitions + 1)])
    functions: dict[str, Callable[[], Any]] = {
        "mm": lambda: [torch.mm(a, b.T, out=product) for a, b in pairs],
        "scoring": lambda: scores_into(method, scores, [next(sources)], [{}]),
        "opening": lambda: open_source(folder),
    }
    seconds = alternate(functions, repetitions)
    work = sum(2 * n * m * a.shape[1] for a, _ in pairs) / 1e9
    return {
        "n_train": n,
        "n_test": m,
        "width": sum(a.shape[1] for a, _ in pairs),
        "repetitions": repetitions,
        **{name: median(values) for name, values in seconds.items()},
        "mm_gflops": work / median(seconds["mm"]),
        "scoring_gflops": work / median(seconds["scoring"]),
        "ratio": ratio_of_medians(seconds["mm"], seconds["scoring"]),
    }
