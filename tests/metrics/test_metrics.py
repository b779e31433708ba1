import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.metrics import (
    leave_one_out_correlation,
    linear_datamodeling_score,
    noise_ceiling,
    noisy_label_auc,
)

SMALL = {"replicates": 50}


def example(*, n_train=40, n_test=6, n_subsets=12, n_repeats=2, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_train, n_test))
    masks = np.zeros((n_subsets, n_train), dtype=bool)
    for mask in masks:
        mask[rng.permutation(n_train)[: n_train // 2]] = True
    truth = masks.astype(float) @ scores
    outputs = truth[:, None] + noise * rng.normal(size=(n_subsets, n_repeats, n_test))
    return scores, masks, outputs


def test_metrics_load_without_pytorch():
    code = "import sys, headwater.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.0, 5.0))
def test_lds_equals_a_loop_over_scipy(seed, noise):
    scores, masks, outputs = example(seed=seed, noise=noise)
    found = linear_datamodeling_score(scores, masks, outputs, **SMALL)
    expected = []
    for j in range(scores.shape[1]):
        predictions = [sum(scores[i, j] for i in np.flatnonzero(mask)) for mask in masks]
        expected.append(scipy.stats.spearmanr(predictions, outputs.mean(1)[:, j]).statistic)
    np.testing.assert_allclose(found.per_test, expected, atol=1e-12)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.low <= found.value <= found.high


def test_lds_of_the_truth_is_one_and_of_its_negative_minus_one():
    scores, masks, outputs = example(noise=0.0)
    for sign in (1, -1):
        found = linear_datamodeling_score(sign * scores, masks, outputs, **SMALL)
        assert found.value == found.low == found.high == pytest.approx(sign)


def test_lds_invariances():
    scores, masks, outputs = example()
    found = linear_datamodeling_score(scores, masks, outputs[:, 0], **SMALL)
    grown = linear_datamodeling_score(3 * scores + 7, masks, np.exp(outputs[:, 0] / 9), **SMALL)
    np.testing.assert_allclose(grown.per_test, found.per_test, atol=1e-12)
    order = np.random.default_rng(1).permutation(len(scores))
    moved = linear_datamodeling_score(scores[order], masks[:, order], outputs[:, 0], **SMALL)
    np.testing.assert_allclose(moved.per_test, found.per_test, atol=1e-12)
    tests = np.random.default_rng(1).permutation(scores.shape[1])
    moved = linear_datamodeling_score(scores[:, tests], masks, outputs[:, 0, tests], **SMALL)
    np.testing.assert_allclose(moved.per_test, found.per_test[tests], atol=1e-12)


def test_lds_of_constant_columns_is_zero():
    scores, masks, outputs = example()
    scores[:, 2] = 0.1
    outputs[:, :, 4] = -3.0
    found = linear_datamodeling_score(scores, masks, outputs, **SMALL)
    assert found.per_test[2] == found.per_test[4] == 0.0


def test_interval_repeats_with_its_seed_and_widens_with_confidence():
    arguments = example(n_subsets=30)
    first = linear_datamodeling_score(*arguments, replicates=200)
    again = linear_datamodeling_score(*arguments, replicates=200)
    assert (first.low, first.high) == (again.low, again.high)
    wide = linear_datamodeling_score(*arguments, replicates=200, confidence=0.999)
    assert wide.low < first.low < first.high < wide.high


def metrics_of_an_example():
    scores, masks, outputs = example()
    flipped = np.arange(len(scores)) < 9
    effects = outputs[: len(scores), 0]
    removed = np.arange(len(effects))
    return {
        "lds": partial(linear_datamodeling_score, scores, masks, outputs),
        "ceiling": partial(noise_ceiling, outputs),
        "loo": partial(leave_one_out_correlation, scores, removed, effects, effects[0]),
        "auc": partial(noisy_label_auc, scores[:, 0], flipped),
    }


def test_intervals_of_tiny_runs_hold_possible_values_only():
    beyond = 0
    for seed in range(20):
        scores, masks, outputs = example(n_subsets=6, n_test=4, noise=0.3, seed=seed)
        lds = linear_datamodeling_score(scores, masks, outputs, **SMALL)
        ceiling = noise_ceiling(outputs, **SMALL)
        assert -1.0 <= lds.low <= lds.value <= lds.high <= 1.0
        assert 0.0 <= ceiling.low <= ceiling.value <= ceiling.high <= 1.0
        beyond += lds.high == 1.0
    assert beyond  # some were cut


@pytest.mark.parametrize("name", metrics_of_an_example())
def test_without_resamples_there_is_the_value_but_no_interval(name):
    metric = metrics_of_an_example()[name]
    found, with_interval = metric(replicates=0), metric(**SMALL)
    assert np.isnan([found.low, found.high]).all()
    assert with_interval.low < with_interval.high
    assert found.value == with_interval.value
    np.testing.assert_array_equal(found.per_test, with_interval.per_test)


@pytest.mark.parametrize("name", metrics_of_an_example())
def test_intervals_that_cannot_be_are_refused(name):
    metric = metrics_of_an_example()[name]
    with pytest.raises(ValueError, match="replicates must be at least 0, got -1"):
        metric(replicates=-1)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        metric(confidence=95, **SMALL)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_found_outside_of_all_subsets(value):
    scores, masks, outputs = example()
    masks[:, 7] = False
    scores[7, 3] = value
    with pytest.raises(ValueError, match=r"scores must be finite, got -?(nan|inf) at \(7, 3\)"):
        linear_datamodeling_score(scores, masks, outputs, **SMALL)


def test_tensors_are_accepted():
    scores, masks, outputs = example()
    from_arrays = linear_datamodeling_score(scores, masks, outputs, **SMALL)
    from_tensors = linear_datamodeling_score(
        torch.tensor(scores), torch.tensor(masks), torch.tensor(outputs), **SMALL
    )
    assert from_tensors.value == from_arrays.value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, m, o: (s.T, m, o), "subset_masks must be bool"),
        (lambda s, m, o: (s, m.astype(int), o), "subset_masks must be bool"),
        (lambda s, m, o: (s, m[:2], o[:2]), "n_subsets >= 3"),
        (lambda s, m, o: (s, m, o[:-1]), "outputs must have shape"),
        (lambda s, m, o: (s, m, o[..., :-1]), "outputs must have shape"),
        (lambda s, m, o: (s * np.inf, m, o), "scores must be finite"),
        (lambda s, m, o: (s, m, o * np.nan), "outputs must be finite"),
    ],
)
def test_lds_errors(change, message):
    with pytest.raises(ValueError, match=message):
        linear_datamodeling_score(*change(*example()))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_loo_equals_a_loop_over_scipy(seed):
    rng = np.random.default_rng(seed)
    scores, full = rng.normal(size=(20, 4)), rng.normal(size=4)
    removed = rng.permutation(20)[:8]
    without = full - 0.1 * scores[removed] + 0.05 * rng.normal(size=(8, 4))
    found = leave_one_out_correlation(scores, removed, without, full, **SMALL)
    expected = [
        scipy.stats.pearsonr(scores[removed, j], full[j] - without[:, j]).statistic
        for j in range(4)
    ]
    np.testing.assert_allclose(found.per_test, expected, atol=1e-12)
    order = rng.permutation(8)
    moved = leave_one_out_correlation(scores, removed[order], without[order], full, **SMALL)
    np.testing.assert_allclose(moved.per_test, expected, atol=1e-12)


def test_loo_sign_and_constant_scores():
    scores = np.random.default_rng(0).normal(size=(9, 3))
    removed = np.array([7, 1, 4, 2])
    full = np.ones(3)
    found = leave_one_out_correlation(scores, removed, full - 2 * scores[removed], full, **SMALL)
    assert found.value == pytest.approx(1.0)
    scores[:, 1] = 5.0
    found = leave_one_out_correlation(scores, removed, full - scores[::2][:4], full, **SMALL)
    assert found.per_test[1] == 0.0


@pytest.mark.parametrize("removed", [[0, 1], [0, 1, 1], [0, 1, 9], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_loo_refuses_impossible_indices(removed):
    without = np.zeros((len(removed), 2))
    with pytest.raises(ValueError, match="removed must hold 3 or more different indices"):
        leave_one_out_correlation(np.zeros((9, 2)), removed, without, np.zeros(2))


def test_loo_refuses_other_shapes():
    with pytest.raises(ValueError, match="outputs_without must have shape"):
        leave_one_out_correlation(np.zeros((9, 2)), [0, 1, 2], np.zeros((4, 2)), np.zeros(2))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 8))
def test_auc_equals_the_share_of_ordered_pairs(seed, n_levels):
    rng = np.random.default_rng(seed)
    values = rng.integers(n_levels, size=25).astype(float)
    flipped = np.arange(25) < 7
    pairs = [(a > b) + 0.5 * (a == b) for a in values[flipped] for b in values[~flipped]]
    found = noisy_label_auc(values, flipped, **SMALL)
    assert found.value == pytest.approx(np.mean(pairs))
    assert noisy_label_auc(-values, flipped, **SMALL).value == pytest.approx(1 - np.mean(pairs))
    assert noisy_label_auc(values**3, flipped, **SMALL).value == pytest.approx(np.mean(pairs))


def test_auc_known_values():
    flipped = np.array([True, False, True, False])
    assert noisy_label_auc([3.0, 1.0, 4.0, 2.0], flipped).value == 1.0
    assert noisy_label_auc([1.0, 3.0, 2.0, 4.0], flipped).value == 0.0
    assert noisy_label_auc([5.0, 5.0, 5.0, 5.0], flipped).value == 0.5
    found = noisy_label_auc(np.random.default_rng(0).normal(size=400), np.arange(400) < 40)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize(
    "flipped", [np.zeros(3, bool), np.ones(3, bool), np.array([1, 0, 0]), np.array([True, False])]
)
def test_auc_refuses_impossible_masks(flipped):
    with pytest.raises(ValueError, match="flipped must be bool"):
        noisy_label_auc(np.arange(3.0), flipped)


@pytest.mark.parametrize("n_repeats", [2, 3])
def test_ceiling_equals_its_formula(n_repeats):
    _, _, outputs = example(n_repeats=n_repeats, noise=3.0)
    expected = []
    for j in range(outputs.shape[2]):
        pairs = [
            scipy.stats.spearmanr(outputs[:, a, j], outputs[:, b, j]).statistic
            for a in range(n_repeats)
            for b in range(a)
        ]
        single = max(0.0, np.mean(pairs))
        expected.append(np.sqrt(n_repeats * single / (1 + (n_repeats - 1) * single)))
    found = noise_ceiling(outputs, **SMALL)
    np.testing.assert_allclose(found.per_test, expected, atol=1e-12)
    assert found.low < found.value < found.high


def test_the_truth_reaches_the_ceiling():
    scores, masks, outputs = example(n_test=200, n_subsets=200, noise=4.0)
    ceiling = noise_ceiling(outputs, **SMALL)
    reached = linear_datamodeling_score(scores, masks, outputs, **SMALL)
    assert 0.5 < ceiling.value < 0.9
    assert reached.value == pytest.approx(ceiling.value, abs=0.02)


def test_ceiling_without_noise_and_without_agreement():
    _, _, outputs = example(noise=0.0)
    assert noise_ceiling(outputs, **SMALL).value == pytest.approx(1.0)
    opposed = np.concatenate([outputs[:, :1], -outputs[:, :1]], axis=1)
    assert noise_ceiling(opposed, **SMALL).value == 0.0


def test_ceiling_needs_repeats():
    with pytest.raises(ValueError, match="two seeds or more"):
        noise_ceiling(np.zeros((5, 1, 3)))
