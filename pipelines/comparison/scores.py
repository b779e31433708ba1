"""How much two matrices of scores agree on each test sample, and where they disagree most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.metrics.correlation import spearman_columns
from headwater.metrics.estimate import percentile_interval, resample_counts
from pipelines.query.ranking import helpfulness

__all__ = ["agreement"]

COLUMNS = 250
"""Test samples that are ranked at a time."""
REPLICATES, CONFIDENCE = 1000, 0.95
SHOWN = 3
"""Proponents of a test sample that are named."""

Scores = tuple[NDArray[np.float32], str]


def agreement(first: Scores, second: Scores, worst: int) -> dict[str, Any]:
    """Return Spearman's ρ over the training samples of each test sample, and where it is lowest.

    Args:
        first: scores (n_train, n_test), and the function that they explain; compared is how much a
            sample helps, so that a loss and a margin agree where both say the same.
        second: those of the other side.
        worst: how many test samples are named.

    Returns:
        {"rank_correlation": an estimate of the mean with its 95 % interval over test samples,
        "per_test": ρ of each, "disagree": [{"test", "rank_correlation", "first", "second"}]}, the last
        two with their strongest proponents.

    Raises:
        ValueError: if the scores are not of the same samples.
    """
    (one, function), (other, other_function) = first, second
    if one.shape != other.shape:
        raise ValueError(
            f"scores must be of the same samples to be compared, got shapes {one.shape} and {other.shape}"
        )
    rho = np.concatenate(
        [
            spearman_columns(
                helpfulness(one[:, j : j + COLUMNS], function),
                helpfulness(other[:, j : j + COLUMNS], other_function),
            )
            for j in range(0, one.shape[1], COLUMNS)
        ]
    )
    counts = resample_counts(np.random.default_rng(0), REPLICATES, len(rho))
    low, high = percentile_interval(counts @ rho / len(rho), CONFIDENCE)
    named = np.argsort(rho, kind="stable")[:worst]
    return {
        "rank_correlation": {"value": float(rho.mean()), "low": low, "high": high},
        "per_test": [round(float(r), 4) for r in rho],
        "disagree": [
            {
                "test": int(j),
                "rank_correlation": round(float(rho[j]), 4),
                "first": _proponents(helpfulness(one[:, j], function)),
                "second": _proponents(helpfulness(other[:, j], other_function)),
            }
            for j in named
        ],
    }


def _proponents(helps: NDArray[Any]) -> list[int]:
    return [int(i) for i in np.argsort(-helps, kind="stable")[:SHOWN]]
