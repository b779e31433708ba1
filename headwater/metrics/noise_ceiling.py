"""Noise ceiling of the linear datamodeling score."""

from itertools import combinations
from typing import Any

import numpy as np

from headwater.metrics.correlation import resampled_spearman, spearman_columns
from headwater.metrics.estimate import (
    Array,
    Estimate,
    as_finite,
    interval_of_means,
    resample_counts,
)

__all__ = ["ceiling_of_reliability", "noise_ceiling"]


def noise_ceiling(
    outputs: Any, *, seed: int = 0, replicates: int = 1000, confidence: float = 0.95
) -> Estimate:
    """Estimate the best score that noisy retrainings allow a perfect method to reach.

    Per test sample, ρ₁ is the Spearman correlation over subsets between two repeats, averaged over
    all pairs of repeats: the reliability of one retraining. The mean of R repeats has reliability
    ρ_R = R ρ₁ / (1 + (R - 1) ρ₁) (Spearman-Brown; a negative ρ₁ counts as 0), and its correlation
    with the noise-free truth is √ρ_R. The ceiling is the mean of √ρ_R over the test samples. The
    interval is a bootstrap over test samples and subsets jointly.

    Args:
        outputs: Target values of the retrained models, (n_subsets, n_repeats, n_test).
        seed: Seed of the bootstrap.
        replicates: Bootstrap resamples; 0: no interval, its ends are NaN.
        confidence: Probability that the interval covers.

    Returns:
        The estimate; `per_test` holds √ρ_R of each test sample.

    Raises:
        ValueError: If a value is not finite, or there are fewer than 2 repeats or 3 subsets.

    Reference:
        Spearman, Correlation Calculated from Faulty Data, British Journal of Psychology 1910.
    """
    values = as_finite("outputs", outputs, 3)
    n_subsets, n_repeats, _ = values.shape
    if n_subsets < 3 or n_repeats < 2:
        raise ValueError(
            "outputs must have shape (n_subsets >= 3, n_repeats >= 2, n_test), got "
            f"{values.shape}: retrain each subset with two seeds or more"
        )
    pairs = list(combinations(range(n_repeats), 2))
    reliability = np.mean([spearman_columns(values[:, a], values[:, b]) for a, b in pairs], axis=0)
    per_test = ceiling_of_reliability(reliability, n_repeats)
    value = float(per_test.mean())
    rng = np.random.default_rng(seed)
    counts = resample_counts(rng, replicates, n_subsets)
    resampled = np.zeros((replicates, values.shape[2]))
    for a, b in pairs:
        resampled += resampled_spearman(counts, values[:, a], values[:, b]) / len(pairs)
    ceilings = ceiling_of_reliability(resampled, n_repeats)
    low, high = interval_of_means(rng, value, ceilings, confidence)
    return Estimate(value, low, high, per_test)


def ceiling_of_reliability(reliability: Array, n_repeats: int) -> Array:
    """Return √ρ_R with ρ_R = R ρ₁ / (1 + (R - 1) ρ₁), and 0 for a negative ρ₁.

    >>> float(ceiling_of_reliability(np.array([0.459]), 2).round(3)[0])
    0.793
    """
    single = np.maximum(reliability, 0.0)
    ceiling: Array = np.sqrt(n_repeats * single / (1 + (n_repeats - 1) * single))
    return ceiling
