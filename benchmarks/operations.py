"""How many operations a method cannot do without: what its speed is held against, on mnist-mlp.

Counted are the products of matrices of the way that Headwater takes, two operations a
multiply-add. Reading, sorting and everything of lower order are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from benchmarks.sides import hyperparameters as choice

__all__ = ["floor_seconds", "operations"]

WIDTHS = (784, 128, 64, 10)
LAYERS = tuple(pairwise(WIDTHS))
WEIGHTS = sum(a * b for a, b in LAYERS)
FIRST = WIDTHS[0] * WIDTHS[1]
FACTORS = sum(a + b for a, b in LAYERS)
"""Numbers a sample in factored form."""
HESSIAN_PAIR = 4 * FIRST + 12 * (WEIGHTS - FIRST)
"""Of (sample, vector): R-forward and R-backward, the activations shared by all vectors."""


def floor_seconds(problem: str, method: str, n: int, m: int, gflops: float) -> float | None:
    """Return the seconds that these operations take at a rate, or None where none are counted."""
    count = operations(problem, method, n, m)
    return None if count is None else count / (gflops * 1e9)


def operations(problem: str, method: str, n: int, m: int) -> float | None:
    """Return the operations of a method for n training and m test samples."""
    found = _COUNTS.get(problem, {}).get(method)
    return None if found is None else float(found(n, m))


def _capture(n: int, m: int) -> float:
    """Return those of factored gradients: a forward pass, and a backward pass to the inputs."""
    return (n + m) * (2 * WEIGHTS + 2 * (WEIGHTS - FIRST))


def _dots(n: int, m: int) -> float:
    return _capture(n, m) + 2 * n * m * FACTORS


def _dense(n: int, m: int) -> float:
    """Return those of inner products of vectors with no structure, (n, p) and (m, p)."""
    return _capture(n, m) + 2 * n * m * WEIGHTS


def _gram(n: int, m: int) -> float:
    return _capture(n, m) + 2 * n * (n + m) * FACTORS


def _trak(k: int, per_coordinate: int) -> Callable[[int, int], float]:
    """Return those of projecting each coordinate, and of the k × k system."""
    return lambda n, m: (
        _capture(n, m) + (n + m) * WEIGHTS * per_coordinate + 2 * n * m * k + 2 * n * k * k
    )


_LISSA = choice.LISSA_DEPTH * choice.LISSA_BATCH
_MNIST_MLP: dict[str, Callable[[int, int], float]] = {
    "grad-dot": _dots,
    "grad-cos": _dots,
    "tracin-10": lambda n, m: 10 * _dots(n, m),
    "if-cg": lambda n, m: choice.CG_ITERATIONS * n * m * HESSIAN_PAIR + _dense(n, m),
    "if-lissa": lambda n, m: _LISSA * m * HESSIAN_PAIR + _dense(n, m),
    "if-arnoldi": lambda n, m: (
        choice.ARNOLDI_RANK * (n * HESSIAN_PAIR + 2 * (n + m) * WEIGHTS) + _capture(n, m)
    ),
    "data-inf": lambda n, m: _gram(n, m) + 2 * len(LAYERS) * n * n * m,
    "ek-fac": _dense,
    "fisher": lambda n, m: _gram(n, m) + n**3 / 3 + 2 * n * n * m,
    "trak-512": _trak(512, 2 * 512),
    "trak-2048": _trak(2048, 2 * 2048),
    "trak-512-sparse": _trak(512, 1),
    "trak-2048-sparse": _trak(2048, 1),
    "knn-shapley": lambda n, m: 2 * n * m * WIDTHS[0],
    "lds": lambda n, m: 2 * 50 * n * m,
}
_COUNTS = {"mnist-mlp": _MNIST_MLP}
