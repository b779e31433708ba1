"""Metrics of removal, against loops and cases whose answer is known."""

from functools import partial

import numpy as np
import pytest

from headwater.metrics import brittleness, query_loss_difference, removal_curve

SMALL = {"replicates": 200}


def losses(seed=0, shape=(3, 7)):
    return np.random.default_rng(seed).normal(size=shape)


def test_query_loss_difference_equals_a_loop():
    top, random = losses(0), losses(1)
    found = query_loss_difference(top, random, **SMALL)
    expected = [
        sum(top[s, j] - random[s, j] for s in range(3)) / 3 for j in range(7)
    ]  # fmt: skip
    np.testing.assert_allclose(found.per_test, expected)
    assert found.value == pytest.approx(sum(expected) / 7)
    assert found.low < found.value < found.high


def test_interval_equals_a_slow_bootstrap_over_queries_and_seeds():
    top, random = losses(0), losses(1)
    found = query_loss_difference(top, random, seed=3, replicates=4000)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        seeds, queries = rng.integers(3, size=3), rng.integers(7, size=7)
        means.append(np.mean([top[s, j] - random[s, j] for s in seeds for j in queries]))
    low, high = np.quantile(means, [0.025, 0.975]) - np.mean(means) + found.value
    assert (found.low, found.high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))


def test_a_loss_that_rises_by_one_everywhere_has_no_doubt():
    found = query_loss_difference(losses() + 1, losses(), **SMALL)
    assert found.value == pytest.approx(1)
    assert (found.low, found.high) == (pytest.approx(1), pytest.approx(1))
    assert query_loss_difference(losses(), losses() + 1, **SMALL).value == pytest.approx(-1)


def test_more_queries_make_the_interval_narrower():
    wide = query_loss_difference(losses(0, (3, 10)), losses(1, (3, 10)), **SMALL)
    narrow = query_loss_difference(losses(0, (3, 1000)), losses(1, (3, 1000)), **SMALL)
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2


def test_curve_is_the_mean_change_at_every_share():
    without, full = losses(0, (4, 3, 7)), losses(1)
    found = removal_curve(without, full, **SMALL)
    for share in range(4):
        expected = np.mean([without[share, s] - full[s] for s in range(3)], axis=0)
        np.testing.assert_allclose(found[share].per_test, expected)


def test_brittleness_counts_right_queries_alone():
    shares = np.array([0.1, np.nan, np.inf, 0.3, 0.02])
    found = brittleness(shares, 0.5, **SMALL)
    np.testing.assert_allclose(found.per_test, [0.1, 0.5, 0.3, 0.02])
    assert found.value == pytest.approx((0.1 + 0.5 + 0.3 + 0.02) / 4)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(query_loss_difference, losses(), losses()[:2]), "got .3, 7. and .2, 7.: pair"),
        (partial(query_loss_difference, losses()[0], losses()), "without_top must be a non-empty"),
        (
            partial(query_loss_difference, losses(), np.inf * losses()),
            "without_random must be finite",
        ),
        (partial(removal_curve, losses()[None], losses().T), "pair the seeds"),
        (partial(brittleness, [np.nan, np.nan], 0.5), "right to begin with, got none"),
        (partial(brittleness, [], 0.5), "shares must be a non-empty array"),
        (partial(query_loss_difference, losses(), losses(), replicates=-1), "at least 0, got -1"),
        (
            partial(query_loss_difference, losses(), losses(), confidence=2),
            "between 0 and 1, got 2",
        ),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
