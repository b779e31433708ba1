"""Stage score: the score of every pair of a training and a test sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.files import atomic
from stages.methods import MethodRow, load_states, open_method
from stages.runner import run


def main(
    row: MethodRow, data: Path, models: Path, train: Path, test: Path, solved: Path, out: Path
) -> None:
    """Write the scores (n_train, n_test), a block of training samples at a time."""
    attributor, sources = open_method(row, data, models, train, test)
    solutions = load_states(solved, row.count) or [{}] * row.count
    n = sum(len(block) for block in sources[0].train_blocks())
    with atomic(out) as partial:
        shape = (n, len(sources[0].test()))
        scores = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
        attributor.scores_into(scores, sources, solutions)
        scores.flush()


if __name__ == "__main__":
    run("score", MethodRow, main, "data", "models", "train", "test", "solved", "out")
