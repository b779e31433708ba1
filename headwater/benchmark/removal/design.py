"""Which samples are removed for a query, and how many of them: what is retrained says the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.helpful import SIGNS

__all__ = ["flip_share", "most_helpful", "next_count", "without_first"]


def most_helpful(scores: NDArray[Any], function: str) -> NDArray[np.intp]:
    """Return the training samples in the order in which they help a query, the most helpful first.

    scores[i] estimates how the function changes because sample i is in the training set. Samples that
    help lower a loss (most negative scores) and raise a margin (most positive ones).

    Args:
        scores: of one query, (n_train,).
        function: a name of a setting's targets.

    Raises:
        ValueError: if nobody said which way the function moves, or a score is not finite.

    Example:
        >>> scores = np.array([0.5, -2.0, 1.0])
        >>> most_helpful(scores, "margin").tolist(), most_helpful(scores, "loss").tolist()
        ([2, 0, 1], [1, 0, 2])
    """
    if function not in SIGNS:
        raise ValueError(
            f"the function must be one of {', '.join(SIGNS)}, got {function!r}: add to SIGNS whether "
            "it rises (1) or falls (-1) as a prediction gets better"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite to rank samples, got NaN or infinity: correct them")
    return np.argsort(-SIGNS[function] * scores.astype(np.float64), kind="stable")


def without_first(order: NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    """Return the mask (n_train,) of all samples but the first `count` of an order.

    Raises:
        ValueError: if none would be removed, or none would be left.

    Example:
        >>> without_first(np.array([2, 0, 1]), 1).tolist()
        [True, True, False]
    """
    if not 0 < count < len(order):
        raise ValueError(
            f"removal must take 1 to {len(order) - 1} of {len(order)} samples, got {count}: choose "
            "another share"
        )
    mask = np.ones(len(order), dtype=bool)
    mask[order[:count]] = False
    return mask


def next_count(known: Mapping[int, bool], largest: int, precision: int) -> int | None:
    """Return how many samples to remove next to find the smallest number that flips a prediction.

    Bisection between the largest number known to leave it right and the smallest known to flip it.

    Args:
        known: number of removed samples -> whether the prediction is right; 0, the full model, included.
        largest: how many are removed at most.
        precision: how close the two numbers must come.

    Returns:
        A number that is not known yet; None where nothing is left to find: the full model is wrong, the
        largest number leaves the prediction right, or the two are close enough.

    Example:
        >>> next_count({0: True}, 64, 8), next_count({0: True, 64: False}, 64, 8)
        (64, 32)
    """
    if not known[0]:
        return None
    flipped = [count for count, right in known.items() if not right and count <= largest]
    if not flipped:
        return None if largest in known else largest
    high = min(flipped)
    low = max(count for count, right in known.items() if right and count < high)
    return (low + high) // 2 if high - low > max(precision, 1) else None


def flip_share(known: Mapping[int, bool], largest: int, n_train: int) -> float:
    """Return the smallest share known to flip a prediction, as `headwater.metrics.brittleness` takes it.

    NaN where the full model is wrong, infinite where removing `largest` samples leaves it right.
    """
    if not known[0]:
        return np.nan
    flipped = [count for count, right in known.items() if not right and count <= largest]
    return min(flipped) / n_train if flipped else np.inf
