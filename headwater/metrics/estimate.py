"""Point estimates with bootstrap confidence intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A metric with its confidence interval.

    Args:
        value: the point estimate.
        low, high: ends of the bootstrap interval; NaN if there were no resamples.
        per_test: values of the single test samples (n_test,), whose mean is `value`; empty where
            the metric has none.
    """

    value: float
    low: float
    high: float
    per_test: Array


def as_array(name: str, values: Any, n_dimensions: int) -> NDArray[Any]:
    """Return values as an array of their own type; ValueError if it is empty or has other dimensions."""
    array = np.asarray(values)
    if array.ndim != n_dimensions or array.size == 0:
        raise ValueError(
            f"{name} must be a non-empty array of {n_dimensions} dimensions, got shape "
            f"{array.shape}: check the order of the arguments"
        )
    return array


def as_finite(name: str, values: Any, n_dimensions: int) -> Array:
    """Return values as a float64 array; ValueError as in `as_array`, or if one is NaN or infinite."""
    array: Array = as_array(name, values, n_dimensions).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} must be finite, got {array[index]} at {index}: correct what made it"
        )
    return array


def resample_counts(rng: np.random.Generator, replicates: int, n: int) -> Array:
    """Return how often each of n items is drawn in n draws with replacement, (replicates, n)."""
    if replicates < 0:
        raise ValueError(
            f"replicates must be at least 0, got {replicates}: use 1000, or 0 for no interval"
        )
    drawn = rng.integers(n, size=(replicates, n)) + n * np.arange(replicates)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=replicates * n)
    return counts.reshape(replicates, n).astype(np.float64)


def bootstrapped_mean(
    per_test: Array,
    n_rows: int,
    resampled: Callable[[Array], Array],
    seed: int,
    replicates: int,
    confidence: float,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return a mean over test samples, with a bootstrap over these and over the rows they share.

    The interval is value + quantiles of (θ* - mean θ*), within the bounds of the metric. Copies of a row
    are tied in a resample, which draws rank correlations towards 0; without the centring the interval
    could miss the value itself.
    `resampled` maps how often each row was drawn, (replicates, n_rows), to values (replicates, n_test).
    """
    value = float(per_test.mean())
    rng = np.random.default_rng(seed)
    values = resampled(resample_counts(rng, replicates, n_rows))
    means = (resample_counts(rng, *values.shape) * values).sum(axis=1) / values.shape[1]
    low, high = percentile_interval(means, confidence)
    mean = float(means.sum()) / max(1, len(means))
    low, high = np.clip([value + low - mean, value + high - mean], *bounds).tolist()
    return Estimate(value, low, high, per_test)


def percentile_interval(resampled: Array, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of resampled values (replicates,); NaN if there are none."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}: use 0.95")
    if not len(resampled):
        return np.nan, np.nan
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
