"""Sparse scores: a soft threshold for each test sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_fraction", "soft_threshold"]

COLUMNS = 256
"""Test samples at a time."""


def check_fraction(fraction: float) -> None:
    """Raise ValueError unless the fraction of scores to keep lies in (0, 1)."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(
            f"soft_threshold must lie between 0 and 1, the fraction of scores to keep, got {fraction}"
        )


def soft_threshold(scores: NDArray[np.float32], fraction: float) -> None:
    """Shrink all scores of a test sample towards 0, and keep a fraction of them, in place.

    S(τ) = sign(τ) · max(|τ| - λ_j, 0), with λ_j the largest magnitude in column j that is not
    among the ⌈fraction · n⌉ largest. The largest score stays the largest.

    Args:
        scores: (n_train, n_test), float32.
        fraction: of the training samples, in (0, 1).

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023, section 3.2.

    Example:
        >>> scores = np.array([[3.0], [-2.0], [1.0], [0.5]], dtype=np.float32)
        >>> soft_threshold(scores, 0.5)
        >>> scores[:, 0].tolist()
        [2.0, -1.0, 0.0, 0.0]
    """
    n = len(scores)
    dropped = n - int(np.ceil(fraction * n))
    if dropped == 0:
        return
    for j in range(0, scores.shape[1], COLUMNS):
        block = scores[:, j : j + COLUMNS]
        magnitude = np.abs(block)
        least = np.partition(magnitude, dropped - 1, axis=0)[dropped - 1]
        scores[:, j : j + COLUMNS] = np.sign(block) * np.maximum(magnitude - least, 0)
