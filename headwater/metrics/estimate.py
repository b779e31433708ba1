"""Point estimates with bootstrap confidence intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Estimate",
    "as_array",
    "as_finite",
    "interval_of",
    "interval_of_means",
    "resample_counts",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A metric with its confidence interval.

    Args:
        value: Point estimate.
        low: Lower end of the bootstrap interval; NaN if there were no resamples.
        high: Upper end; NaN likewise.
        per_test: Values of the single test samples (n_test,), whose mean is `value`; empty where
            the metric has none.
    """

    value: float
    low: float
    high: float
    per_test: Array


def as_array(name: str, values: Any, n_dimensions: int) -> NDArray[Any]:
    """Return values as an array of the type they have.

    Raises:
        ValueError: If the number of dimensions differs, or an axis is empty.
    """
    array = np.asarray(values)
    if array.ndim != n_dimensions or array.size == 0:
        raise ValueError(
            f"{name} must be a non-empty array of {n_dimensions} dimensions, got shape "
            f"{array.shape}: check the order of the arguments"
        )
    return array


def as_finite(name: str, values: Any, n_dimensions: int) -> Array:
    """Return values as a float64 array.

    Raises:
        ValueError: If the number of dimensions differs, an axis is empty, or a value is NaN or
            infinite.
    """
    array: Array = as_array(name, values, n_dimensions).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} must be finite, got {array[index]} at {index}: correct what made it"
        )
    return array


def resample_counts(rng: np.random.Generator, replicates: int, n: int) -> Array:
    """Return how often each of n items is drawn in n draws with replacement, (replicates, n).

    Raises:
        ValueError: If replicates is negative.
    """
    if replicates < 0:
        raise ValueError(
            f"replicates must be at least 0, got {replicates}: use 1000, or 0 for no interval"
        )
    drawn = rng.integers(n, size=(replicates, n)) + n * np.arange(replicates)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=replicates * n)
    return counts.reshape(replicates, n).astype(np.float64)


def interval_of_means(
    rng: np.random.Generator, value: float, resampled: Array, confidence: float
) -> tuple[float, float]:
    """Return the bootstrap interval of a mean over test samples, centred at the estimate.

    value + quantiles of (θ* - mean θ*). Copies of a row are tied in a resample, which draws rank
    correlations towards 0; without the centring the interval could miss the estimate itself.

    Args:
        rng: Draws the test samples of each replicate.
        value: Point estimate.
        resampled: Values per replicate and test sample, (replicates, n_test).
        confidence: Probability that the interval covers.
    """
    counts = resample_counts(rng, *resampled.shape)
    means = (counts * resampled).sum(axis=1) / resampled.shape[1]
    low, high = interval_of(means, confidence)
    mean = float(means.sum()) / max(1, len(means))
    return value + low - mean, value + high - mean


def interval_of(resampled: Array, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of resampled values (replicates,); NaN if there are none.

    Raises:
        ValueError: If confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}: use 0.95")
    if not len(resampled):
        return np.nan, np.nan
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
