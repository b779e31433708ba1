"""How far two results agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["compare_results"]


def compare_results(
    ours: NDArray[Any], theirs: NDArray[Any], factor: float
) -> dict[str, float | int | None]:
    """Compare a peer's result with ours times a factor.

    Returns:
        ``difference``: max |factor · ours - theirs| / max |factor · ours|; ``correlation`` of the two
        (None where one is constant), both over the entries that are finite in theirs; ``not_finite``:
        how many are not.

    Raises:
        ValueError: if the shapes differ, or ours is not finite.
    """
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        raise ValueError(
            f"ours must be finite and of shape {theirs.shape}, got {ours.shape}: both sides must "
            "score the same samples"
        )
    a, b = factor * ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    finite = np.isfinite(b)
    missing = int((~finite).sum())
    a, b = a[finite], b[finite]
    if not len(a) or not np.abs(a).max():
        return {"difference": None, "correlation": None, "not_finite": missing}
    constant = len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0
    return {
        "difference": float(np.abs(a - b).max() / np.abs(a).max()),
        "correlation": None if constant else float(np.corrcoef(a, b)[0, 1]),
        "not_finite": missing,
    }
