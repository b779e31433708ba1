"""(c) Peak memory of scoring, in a process of its own, for stores of growing length.

python -m benchmarks.scoring_memory STORES_FOLDER N M THREADS
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import ROOT
from benchmarks.measure import MB, peak_memory
from benchmarks.problem import make_task
from benchmarks.scoring_speed import open_source, write_projected
from headwater.attributors import GradDot
from headwater.attributors.scoring import scores_into

__all__ = ["measure_memory"]


def measure_memory(folder: Path, n: int, m: int, dimension: int, threads: int) -> dict[str, Any]:
    """Write stores of random vectors, score them in a new process, and delete them.

    Returns:
        The sizes of the store and of the scores in MB, and the peak memory of the process, with
        what it was before the scoring.
    """
    write_projected(folder, n, m, dimension)
    command = [sys.executable, "-m", "benchmarks.scoring_memory", str(folder)]
    sizes = [str(n), str(m), str(threads)]
    try:
        found = subprocess.run(
            [*command, *sizes], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
    finally:
        shutil.rmtree(folder)
    sizes_mb = {"store_mb": 4 * n * dimension / MB, "scores_mb": 4 * n * m / MB}
    return {"n_train": n, "n_test": m, "width": dimension, **sizes_mb, **json.loads(found.stdout)}


def main(folder: Path, n: int, m: int, threads: int) -> None:
    """Score as the stage `score` does, into a .npy file, and print the peak memory."""
    torch.set_num_threads(threads)
    method, source = GradDot(make_task()), open_source(folder)
    scores = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.float32, (n, m))
    before = peak_memory()
    scores_into(method, scores, [source], [{}])
    scores.flush()
    print(json.dumps({"peak_mb": peak_memory() / MB, "peak_mb_before": before / MB}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
