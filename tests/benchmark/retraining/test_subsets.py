import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.benchmark.retraining import draw_subsets, flip_labels


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0.3, 1.0), st.integers(1, 5), st.integers(0, 10))
def test_subsets_have_the_exact_size_and_extend(n, fraction, count, seed):
    masks = draw_subsets(n, fraction, count, seed)
    assert masks.shape == (count, n) and masks.dtype == bool
    assert (masks.sum(axis=1) == round(n * fraction)).all()
    more = draw_subsets(n, fraction, count + 2, seed)
    np.testing.assert_array_equal(more[:count], masks)


def test_subsets_are_uniform():
    masks = draw_subsets(10, 0.5, 2000, seed=0)
    assert np.abs(masks.mean(axis=0) - 0.5).max() < 0.05
    assert not np.array_equal(masks, draw_subsets(10, 0.5, 2000, seed=1))


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 1), (1.1, 1), (0.01, 1), (0.5, 0)])
def test_impossible_subsets_are_refused(fraction, count):
    with pytest.raises(ValueError, match="subsets need"):
        draw_subsets(10, fraction, count, seed=0)


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.0, 1.0), st.integers(2, 6), st.integers(0, 10))
def test_flips_are_exact_and_change_the_class(n, fraction, n_classes, seed):
    labels = np.random.default_rng(seed).integers(n_classes, size=n)
    before = labels.copy()
    noisy, flipped = flip_labels(labels, fraction, n_classes, seed)
    np.testing.assert_array_equal(labels, before)
    assert flipped.sum() == round(fraction * n)
    np.testing.assert_array_equal(noisy != labels, flipped)
    assert noisy.min() >= 0 and noisy.max() < n_classes and noisy.dtype == labels.dtype
    np.testing.assert_array_equal(flip_labels(labels, fraction, n_classes, seed)[0], noisy)


def test_flips_reach_every_other_class_equally():
    labels = np.full(3000, 2, dtype=np.uint8)
    noisy, _ = flip_labels(labels, 1.0, 4, seed=0)
    assert noisy.dtype == np.uint8
    np.testing.assert_allclose(np.bincount(noisy, minlength=4), [1000, 1000, 0, 1000], atol=90)


def test_all_labels_of_a_sequence_change_but_those_that_are_ignored():
    labels = np.array([[0, 1, -100], [2, -100, -100], [1, 1, 1]])
    noisy, flipped = flip_labels(labels, 0.67, 3, seed=1)
    assert flipped.sum() == 2
    changed = noisy != labels
    np.testing.assert_array_equal(changed, flipped[:, None] & (labels >= 0))
    assert noisy.max() < 3


def test_impossible_flips_are_refused():
    with pytest.raises(ValueError, match="labels must be integers"):
        flip_labels(np.array([0, 5]), 0.1, 3, seed=0)
    with pytest.raises(ValueError, match="labels must be integers"):
        flip_labels(np.array([0.0, 1.0]), 0.1, 3, seed=0)
    with pytest.raises(ValueError, match="flipping needs"):
        flip_labels(np.array([0, 1]), 1.5, 3, seed=0)
    with pytest.raises(ValueError, match="flipping needs"):
        flip_labels(np.array([0, 0]), 0.5, 1, seed=0)
