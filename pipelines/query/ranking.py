"""Proponents and opponents: the training samples at both ends of the scores of a test sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.benchmark.removal.design import most_helpful
from headwater.helpful import SIGNS

__all__ = ["Ends", "both_ends", "ends", "helpfulness"]


class Ends(NamedTuple):
    """Places of training samples: those that help a prediction most, and those that harm it most."""

    proponents: NDArray[np.intp]
    opponents: NDArray[np.intp]


def ends(scores: NDArray[Any], function: str, count: int) -> Ends:
    """Return the strongest `count` on each side, the strongest first; no sample is on both.

    Args:
        scores: of one test sample, (n,).
        function: what they explain: a loss falls as a prediction gets better, a margin rises.
        count: of each side; of fewer samples than twice as many, half.

    Example:
        >>> found = ends(np.array([0.5, -2.0, 1.0, 0.1]), "margin", 2)
        >>> found.proponents.tolist(), found.opponents.tolist()
        ([2, 0], [1, 3])
    """
    order = most_helpful(scores, function)
    half = (len(order) + 1) // 2
    return Ends(order[: min(count, half)], order[::-1][: min(count, len(order) - half)])


def both_ends(scores: NDArray[Any], function: str, count: int) -> NDArray[np.intp]:
    """Return the places of the `count` strongest samples, half of them on each side, ascending."""
    order, first = most_helpful(scores, function), (count + 1) // 2
    if count >= len(order):
        return np.arange(len(order))
    return np.sort(np.concatenate([order[:first], order[len(order) - (count - first) :]]))


def helpfulness(scores: NDArray[Any], function: str) -> NDArray[Any]:
    """Return the scores with the sign that a sample which helps has a positive one.

    Example:
        >>> helpfulness(np.array([-1.0, 2.0]), "loss").tolist()
        [1.0, -2.0]
    """
    return scores * SIGNS[function]
