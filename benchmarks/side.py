"""One call of one side, in a process of its own: read, call, write.

python -m benchmarks.side SIDE METHOD PROBLEM_FOLDER OUTPUT_FOLDER THREADS

All sides read the same arrays. Imports, reading and writing are not timed, and what torch imports
late is imported before. Nothing of a library is imported for another one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import MB, peak_memory, save_record, timed
from benchmarks.sides.inputs import read_inputs

__all__ = ["main"]


def main(side: str, method: str, problem: Path, output: Path, threads: int) -> None:
    """Write result.npy and record.json into the output folder."""
    _refuse_more_than_there_is()
    torch.set_num_threads(threads)
    call = importlib.import_module(f"benchmarks.sides.{side}").CALLS[method](read_inputs(problem))
    torch.func.vmap(torch.func.grad(torch.sin))(torch.ones(2))
    before = peak_memory()
    seconds, result = timed(call)
    after = peak_memory()
    output.mkdir(parents=True, exist_ok=True)
    np.save(output / "result.npy", np.asarray(result))
    record = {"seconds": seconds, "peak_mb": after / MB, "peak_mb_before": before / MB}
    save_record(output / "record.json", record)


def _refuse_more_than_there_is() -> None:
    """Make a request for more memory than the machine has an error, not the end of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
