"""Noise ceiling of the linear datamodeling score."""

from itertools import combinations
from typing import Any

import numpy as np

from headwater.metrics.correlation import resampled_spearman, spearman_columns
from headwater.metrics.estimate import Array, Estimate, as_finite, bootstrapped_mean


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
        outputs: target values of the retrained models, (n_subsets, n_repeats, n_test).
        seed: of the bootstrap.
        replicates: bootstrap resamples; 0: no interval, its ends are NaN.
        confidence: probability that the interval covers.

    Raises:
        ValueError: if a value is not finite, or there are fewer than 2 repeats or 3 subsets.

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

    def resampled(counts: Array) -> Array:
        reliability = np.zeros((len(counts), values.shape[2]))
        for a, b in pairs:
            reliability += resampled_spearman(counts, values[:, a], values[:, b]) / len(pairs)
        return _ceiling(reliability, n_repeats)

    per_test = _ceiling(reliability, n_repeats)
    return bootstrapped_mean(
        per_test, n_subsets, resampled, seed, replicates, confidence, (0.0, 1.0)
    )


def _ceiling(reliability: Array, n_repeats: int) -> Array:
    """Return √ρ_R with ρ_R = R ρ₁ / (1 + (R - 1) ρ₁), and 0 for a negative ρ₁."""
    single = np.maximum(reliability, 0.0)
    ceiling: Array = np.sqrt(n_repeats * single / (1 + (n_repeats - 1) * single))
    return ceiling
