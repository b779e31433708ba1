"""The scores of all checkpoints, block by block into an array in memory or in a file."""

import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.attributors.method import Method
from headwater.gradients.source import CapturedSource, GradientSource
from headwater.memory import check_memory, row_blocks
from headwater.solvers import State

Scores = NDArray[np.float32]


def scores_into(
    method: Method, out: Scores, sources: Sequence[GradientSource], solved: Iterable[State]
) -> None:
    """Write the scores into an array (n_train, n_test), a block of training samples at a time.

    `solved` is what `solve` returned at each checkpoint; one of them is held at a time. ValueError if
    the array has not one row per training sample.
    """
    writer = _Writer(method, out, sources)
    for place, (source, solution) in enumerate(zip(sources, solved, strict=True)):
        writer.write(place, slice(None), source, solution)
    method.finish(out)


def solve_into(
    method: Method,
    out: Scores,
    sources: Sequence[CapturedSource],
    states: Iterable[State],
    scored: Callable[[CapturedSource], GradientSource] = lambda source: source,
) -> None:
    """Solve and score one checkpoint after the other, test samples in blocks where all do not fit.

    `states` are what `prepare` returned at the sources, which have tests; the training gradients that
    are scored are those of `scored(source)`.
    """
    writer = _Writer(method, out, sources)
    for place, (source, state) in enumerate(zip(sources, states, strict=True)):
        given, m = source.test_gradients, out.shape[1]
        copied = given.in_files if method.one_pass else given.size
        width = copied // m + method.solved_width(source) * source.model.dtype.itemsize
        parts = 2 if method.one_pass else 4  # the others hold data and gradients
        most = source.task.memory_budget // parts
        for tests in row_blocks(m, width, source.device, numbers=most):
            part = source.at_tests(tests)
            writer.write(place, tests, scored(part), method.solve(part, state))
    method.finish(out)


def self_scores(
    method: Method, sources: Sequence[GradientSource], states: Sequence[State]
) -> Tensor:
    """Return the self-influence from sources and what was prepared of them, float64 (n_train,)."""
    total, factors = torch.zeros(1, dtype=torch.float64), _mean_sample_weights(method, sources)
    for index, (source, state) in enumerate(zip(sources, states, strict=True)):
        weight = method.checkpoint_weight(index, len(sources))
        found = weight * method.self_score(source, state).to("cpu", torch.float64)
        total = total + (found * factors[index % len(factors)] ** 2 if factors else found)
    return total


def written(write: Callable[[Scores], None], shape: tuple[int, int], out: Path | None) -> Tensor:
    """Return scores (n_train, n_test) in memory; or in a .npy file, which appears when it is whole."""
    if out is None:
        what, cpu = f"a matrix of {shape[0]:,} x {shape[1]:,} scores", torch.device("cpu")
        check_memory(what, 4 * shape[0] * shape[1], "pass out= with the path of a file", cpu)
        scores = np.empty(shape, dtype=np.float32)
        write(scores)
        return torch.from_numpy(scores)
    partial = out.with_name(f"{out.name}.partial")
    try:
        mapped = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
        write(mapped)
        mapped.flush()
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return torch.from_numpy(np.load(out, mmap_mode="c"))


class _Writer:
    """Writes Σ_c w_c · block, times the mean sample weight of c's ensemble, into an array."""

    def __init__(self, method: Method, out: Scores, sources: Sequence[GradientSource]) -> None:
        self.method, self.out, self.count = method, out, len(sources)
        self.factors = _mean_sample_weights(method, sources)

    def write(self, place: int, tests: slice, source: GradientSource, solved: State) -> None:
        """Write the scores of some test samples at the first checkpoint, or add those at another."""
        weight, done = self.method.checkpoint_weight(place, self.count), 0
        for rows, block in self.method.score(source, solved):
            scaled = block if weight == 1 else weight * block
            if self.factors:
                factor = self.factors[place % len(self.factors)]
                scaled = scaled * factor[rows, None].to(scaled)
            part = torch.from_numpy(self.out[rows, tests])
            if place == 0:
                part.copy_(scaled)
            else:
                part += scaled.to("cpu", torch.float32)
            done += len(part)
            _let_go(self.out)
            del block, scaled  # before the next is made: else memory grows in fragments
        if done != len(self.out):
            raise ValueError(
                f"out must have one row per training sample, {done} of them, got {len(self.out)}"
            )


def _mean_sample_weights(method: Method, sources: Iterable[GradientSource]) -> list[Tensor]:
    """Return the mean of each ensemble; none at all where the method has no such weights."""
    found = [w for w in (method.sample_weight(source) for source in sources) if w is not None]
    parts = [found[first :: method.ensembles] for first in range(method.ensembles)]
    return [torch.stack(part).mean(0).to("cpu", torch.float64) for part in parts if part]


def _let_go(out: Scores) -> None:
    """Unmap what has been written to a file, so that memory does not grow with the scores."""
    if isinstance(out, np.memmap) and out.mode == "r+" and isinstance(out.base, mmap.mmap):
        out.base.madvise(mmap.MADV_DONTNEED)  # of a shared mapping: the file keeps the pages
