import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.metrics.correlation import (
    pearson_columns,
    resampled_pearson,
    resampled_spearman,
    spearman_columns,
)
from headwater.metrics.estimate import as_finite, resample_counts


def naive(function, first, second):
    """One SciPy call per column, 0 for constant columns."""
    values = []
    for a, b in zip(first.T, second.T, strict=True):
        constant = len(set(a)) == 1 or len(set(b)) == 1
        values.append(0.0 if constant else function(a, b).statistic)
    return np.array(values)


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_columns_equal_scipy_with_ties(n, m, n_levels, seed):
    rng = np.random.default_rng(seed)
    first = rng.integers(n_levels, size=(n, m)).astype(float)
    second = rng.integers(n_levels, size=(n, m)).astype(float)
    expected = naive(scipy.stats.spearmanr, first, second)
    np.testing.assert_allclose(spearman_columns(first, second), expected, atol=1e-12)
    expected = naive(scipy.stats.pearsonr, first, second)
    np.testing.assert_allclose(pearson_columns(first, second), expected, atol=1e-12)


@settings(deadline=None)
@given(st.integers(2, 15), st.integers(1, 4), st.integers(2, 20), st.integers(0, 1000))
def test_resampling_by_counts_equals_repeating_rows(n, m, n_levels, seed):
    rng = np.random.default_rng(seed)
    first = rng.integers(n_levels, size=(n, m)).astype(float)
    second = rng.integers(n_levels, size=(n, m)) + 0.5 * first
    counts = resample_counts(rng, 5, n)
    spearman = resampled_spearman(counts, first, second)
    pearson = resampled_pearson(counts, first, second)
    for b, count in enumerate(counts):
        rows = np.repeat(np.arange(n), count.astype(int))
        expected = naive(scipy.stats.spearmanr, first[rows], second[rows])
        np.testing.assert_allclose(spearman[b], expected, atol=1e-6)
        expected = naive(scipy.stats.pearsonr, first[rows], second[rows])
        np.testing.assert_allclose(pearson[b], expected, atol=1e-9)


def test_many_rows_are_computed_in_blocks():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(60, 1500))
    second = first + rng.normal(size=first.shape)
    counts = resample_counts(rng, 60, 60)
    whole = resampled_spearman(counts, first, second)
    for b, j in ((0, 0), (59, 1499), (30, 1200)):
        rows = np.repeat(np.arange(60), counts[b].astype(int))
        expected = scipy.stats.spearmanr(first[rows, j], second[rows, j]).statistic
        assert whole[b, j] == pytest.approx(expected, abs=1e-6)


def test_pearson_of_columns_far_from_zero():
    rng = np.random.default_rng(0)
    first = 1e6 + rng.normal(size=(30, 2))
    second = 1e-6 * first + rng.normal(size=(30, 2))
    expected = naive(scipy.stats.pearsonr, first, second)
    np.testing.assert_allclose(pearson_columns(first, second), expected, atol=1e-8)


def test_counts_sum_to_the_number_of_items():
    counts = resample_counts(np.random.default_rng(0), 100, 7)
    assert counts.shape == (100, 7)
    assert (counts.sum(axis=1) == 7).all()


def test_values_that_are_not_finite_are_named():
    values = np.zeros((3, 2))
    values[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"scores must be finite, got nan at \(2, 1\)"):
        as_finite("scores", values, 2)
    with pytest.raises(ValueError, match="of 2 dimensions"):
        as_finite("scores", np.zeros(3), 2)
    with pytest.raises(ValueError, match="non-empty"):
        as_finite("scores", np.zeros((0, 2)), 2)
