"""The rate that torch.mm reaches on this machine, measured once a run.

python -m benchmarks.gemm_rate THREADS
"""

from __future__ import annotations

import sys
from statistics import median

import torch

from benchmarks.measure import timed

__all__ = ["gemm_gflops"]

SIZE = 2048
REPETITIONS = 7


def gemm_gflops(threads: int) -> float:
    """Return GFLOP/s of the product of two square float32 matrices, operands in memory."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIZE, SIZE, generator=generator) for _ in range(2))
    product = torch.empty(SIZE, SIZE)
    seconds = [timed(lambda: torch.mm(a, b, out=product))[0] for _ in range(REPETITIONS + 1)]
    return 2 * SIZE**3 / median(seconds[1:]) / 1e9


if __name__ == "__main__":
    print(gemm_gflops(int(sys.argv[1])))
