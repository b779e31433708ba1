"""Correlations of matching columns, for the data and for weighted resamples of the rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from headwater.metrics.estimate import Array

_BLOCK_NUMBERS = 4_000_000
# Variance left by rounding when a column is constant, relative to its mean square.
_ROUNDING = 1e-12


def pearson_columns(first: Array, second: Array) -> Array:
    """Return Pearson's r of each pair of columns of (n, m), (m,); 0 where a column is constant."""
    return resampled_pearson(np.ones((1, len(first))), first, second)[0]


def spearman_columns(first: Array, second: Array) -> Array:
    """Return Spearman's ρ of each pair of columns, Pearson's r of the ranks; ties share their mean."""
    return pearson_columns(rankdata(first, axis=0), rankdata(second, axis=0))


def resampled_pearson(counts: Array, first: Array, second: Array) -> Array:
    """Return Pearson's r of each pair of columns of (n, m) when row i occurs counts[b, i] times.

    The counts (replicates, n) have rows with equal sums. The result (replicates, m) is 0 where a
    resampled column is constant.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    first, second = _standardised(first), _standardised(second)
    first_means, second_means = shares @ first, shares @ second
    covariance = shares @ (first * second) - first_means * second_means
    first_square, second_square = shares @ first**2, shares @ second**2
    return _ratio(
        covariance,
        _clean(first_square - first_means**2, first_square),
        _clean(second_square - second_means**2, second_square),
    )


def resampled_spearman(counts: Array, first: Array, second: Array) -> Array:
    """Return Spearman's ρ of each pair of columns of (n, m) when row i occurs counts[b, i] times.

    Copies of a row are tied: with L[i, k, j] = [x_kj < x_ij] + ½ [x_kj = x_ij], the average rank of
    row i in column j is ½ + Σ_k counts[k] · L[i, k, j]. The counts (replicates, n) are whole, rows with
    sum n; the result is 0 where a resampled column is constant.
    """
    replicates, n = counts.shape
    result = np.empty((replicates, first.shape[1]))
    if not replicates:
        return result
    for columns in _blocks(first.shape[1], n * n):
        first_below, second_below = _below(first[:, columns]), _below(second[:, columns])
        width = first_below.shape[2]
        for rows in _blocks(replicates, n * width):
            weights = counts[rows].astype(np.float32)
            first_ranks = _centred_ranks(weights, first_below)
            second_ranks = _centred_ranks(weights, second_below)
            weighted = weights[:, :, None] * first_ranks
            covariance = np.einsum("bij,bij->bj", weighted, second_ranks)
            first_variance = np.einsum("bij,bij->bj", weighted, first_ranks)
            second_ranks *= second_ranks
            second_variance = np.einsum("bi,bij->bj", weights, second_ranks)
            result[rows, columns] = _ratio(covariance, first_variance, second_variance)
    return result


def _below(values: Array) -> NDArray[np.float32]:
    """L as (k, i, j): how much of row k lies below row i in column j."""
    other, own = values[:, None], values[None]
    return (other < own).astype(np.float32) + np.float32(0.5) * (other == own)


def _centred_ranks(weights: NDArray[np.float32], below: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average ranks (b, i, j) minus their mean (n + 1)/2; exact, multiples of ½ in float32."""
    n, _, width = below.shape
    ranks = weights @ below.reshape(n, -1)
    ranks -= n / 2
    return ranks.reshape(len(weights), n, width)


def _blocks(total: int, numbers_each: int) -> Iterator[slice]:
    size = max(1, _BLOCK_NUMBERS // numbers_each)
    for start in range(0, total, size):
        yield slice(start, start + size)


def _standardised(values: Array) -> Array:
    """Columns with mean 0 and largest magnitude 1; exactly 0 for constant columns."""
    constant = values.max(axis=0) == values.min(axis=0)
    centred = values - values.mean(axis=0)
    scale = np.abs(centred).max(axis=0)
    return np.where(constant, 0.0, centred / np.where(scale > 0, scale, 1.0))


def _clean(variance: Array, mean_square: Array) -> Array:
    return np.where(variance > _ROUNDING * mean_square, variance, 0.0)


def _ratio(covariance: Array, first_variance: Array, second_variance: Array) -> Array:
    product = first_variance.astype(np.float64) * second_variance
    defined = product > 0
    root = np.sqrt(np.where(defined, product, 1.0))
    return np.where(defined, np.clip(covariance / root, -1.0, 1.0), 0.0)
