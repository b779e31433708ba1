"""Detection of noisy labels."""

from typing import Any

import numpy as np

from headwater.metrics.estimate import (
    Array,
    Estimate,
    as_finite,
    percentile_interval,
    resample_counts,
)


def noisy_label_auc(
    self_influence: Any,
    flipped: Any,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Measure how well self-influence separates flipped labels from clean ones.

    AUC = P(s_flipped > s_clean) + ½ P(s_flipped = s_clean), the area under the ROC curve. The
    interval is a percentile bootstrap over the flipped and the clean samples, each resampled
    within their own group.

    Args:
        self_influence: (n,), large for suspicious samples.
        flipped: bool (n,), true where the label was flipped.
        seed: of the bootstrap.
        replicates: bootstrap resamples; 0: no interval, its ends are NaN.
        confidence: probability that the interval covers.

    Raises:
        ValueError: if shapes disagree, a value is not finite, or one of the groups is empty.

    Reference:
        Koh and Liang, Understanding Black-box Predictions via Influence Functions, ICML 2017.
    """
    values = as_finite("self_influence", self_influence, 1)
    mask = np.asarray(flipped)
    if mask.dtype != np.bool_ or mask.shape != values.shape or mask.all() or not mask.any():
        raise ValueError(
            f"flipped must be bool of shape {values.shape} with flipped and clean samples, got "
            f"{mask.dtype} of shape {mask.shape} with {np.count_nonzero(mask)} flipped: "
            "pass the mask that flip_labels returned"
        )
    distinct, rank = np.unique(values, return_inverse=True)
    positive, negative = rank[mask], rank[~mask]

    def areas(positive_counts: Array, negative_counts: Array) -> Array:
        above = _histograms(positive_counts, positive, len(distinct))
        below = _histograms(negative_counts, negative, len(distinct))
        at_most_half = np.cumsum(below, axis=1) - 0.5 * below
        area: Array = (above * at_most_half).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))
        return area

    value = areas(np.ones((1, len(positive))), np.ones((1, len(negative))))
    rng = np.random.default_rng(seed)
    resampled = areas(*(resample_counts(rng, replicates, len(g)) for g in (positive, negative)))
    return Estimate(float(value[0]), *percentile_interval(resampled, confidence), np.empty(0))


def _histograms(counts: Array, rank: Array, n_ranks: int) -> Array:
    """How often each distinct value occurs in each resample, (replicates, n_ranks)."""
    replicates = len(counts)
    cells = rank + n_ranks * np.arange(replicates)[:, None]
    found = np.bincount(cells.ravel(), weights=counts.ravel(), minlength=replicates * n_ranks)
    return found.reshape(replicates, n_ranks).astype(np.float64)
