"""How alike training samples are, and an order of them in which each adds what those before lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ALIKE", "Similarity", "diverse_order"]

BLOCK = 1024
ALIKE = 0.9
"""From this cosine on, samples are called interchangeable."""


class Similarity:
    """Cosines between training samples: of a Gram matrix, or of vectors that are never multiplied out.

    Gradients' Gram matrix is `gradients.inner(gradients)` of `headwater.gradients`; vectors are projected
    gradients, features, or the rows of scores (samples that act alike on all test samples). A
    sample with a vector of zeros is like no other.

    Example:
        >>> gram = Similarity.of_gram([[4.0, 2.0], [2.0, 1.0]])
        >>> gram.among([0, 1]).tolist(), gram.alike([0], threshold=0.9)
        ([[1.0, 1.0], [1.0, 1.0]], [[(1, 1.0)]])
    """

    def __init__(self, matrix: NDArray[Any], norms: NDArray[Any], vectors: bool) -> None:
        self._matrix, self._vectors = matrix, vectors
        self._scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)

    @classmethod
    def of_gram(cls, gram: ArrayLike) -> Similarity:
        """Take inner products (n, n) of all pairs; ValueError if they are not square and finite."""
        matrix = _finite(gram, "a Gram matrix")
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"a Gram matrix must be (n, n), got {matrix.shape}: use Similarity.of_vectors for vectors"
            )
        return cls(matrix, np.sqrt(np.maximum(matrix.diagonal(), 0)), vectors=False)

    @classmethod
    def of_vectors(cls, vectors: ArrayLike) -> Similarity:
        """Take one vector of each sample, (n, d); ValueError if they are not finite."""
        matrix = _finite(vectors, "vectors")
        return cls(matrix, np.linalg.norm(matrix, axis=1), vectors=True)

    def __len__(self) -> int:
        return len(self._matrix)

    def among(self, samples: ArrayLike) -> NDArray[np.float64]:
        """Return the cosines of k samples with each other, (k, k)."""
        rows = np.asarray(samples, dtype=np.int64)
        return self._cosines(rows, rows)

    def alike(
        self, samples: ArrayLike, threshold: float, most: int = 8
    ) -> list[list[tuple[int, float]]]:
        """Return of each of k samples the others that are at least so alike, the most alike first.

        Args:
            samples: k row numbers.
            threshold: the least cosine.
            most: how many of each at most.

        Returns:
            For each of the samples (row, cosine) of those that it could be exchanged for.
        """
        found = []
        everyone = np.arange(len(self))
        for rows in _blocks(np.asarray(samples, dtype=np.int64)):
            cosines = self._cosines(rows, everyone)
            cosines[np.arange(len(rows)), rows] = -1
            for line in cosines:
                others = np.flatnonzero(line >= threshold)
                order = others[np.argsort(-line[others], kind="stable")][:most]
                found.append([(int(i), float(line[i])) for i in order])
        return found

    def _cosines(self, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.float64]:
        if self._vectors:
            products = self._matrix[rows] @ self._matrix[columns].T
        else:
            products = self._matrix[np.ix_(rows, columns)]
        cosines = products * self._scale[rows, None] * self._scale[columns]
        cosines[rows[:, None] == columns] = 1.0
        return np.clip(cosines, -1, 1).astype(np.float64)


def diverse_order(
    weights: ArrayLike, cosines: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    """Return `count` candidates such that each is strong and adds what those before lack.

    Greedy maximum of a determinantal point process: the next pick has the largest product of its weight
    and the length of the part of its unit vector that is orthogonal to those picked. What is
    interchangeable with a pick is never picked.

    Args:
        weights: how strong each candidate is, (k,), not negative.
        cosines: between candidates, (k, k), positive semi-definite up to rounding.
        count: how many at most.

    Reference:
        Chen, Zhang and Zhou, Fast Greedy MAP Inference for Determinantal Point Process, NeurIPS 2018.

    Example:
        >>> cosines = np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1.0]])
        >>> diverse_order([3.0, 2.9, 1.0], cosines, 3).tolist()
        [0, 2]
    """
    strength = np.asarray(weights, dtype=np.float64)
    new = np.ones(len(strength))  # squared lengths of what is new of each
    free = np.ones(len(strength), dtype=bool)
    factor = np.zeros((min(count, len(strength)), len(strength)))  # rows of a Cholesky factor
    picked: list[int] = []
    for step, row in enumerate(factor):
        if not free.any():
            break
        gain = np.where(free, strength * np.sqrt(np.maximum(new, 1e-9)), -1.0)
        best = int(gain.argmax())
        picked.append(best)
        free[best] = False
        free &= cosines[best] < ALIKE
        if new[best] > 1e-9:
            row[:] = (cosines[best] - factor[:step, best] @ factor[:step]) / np.sqrt(new[best])
            new -= row**2
    return np.array(picked, dtype=np.int64)


def _blocks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _finite(values: ArrayLike, what: str) -> NDArray[np.float32]:
    matrix = np.asarray(values, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError(
            f"{what} must have two dimensions, got {matrix.shape}: pass (n, …) numbers"
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"{what} must be finite, got NaN or infinity: correct them")
    return matrix
