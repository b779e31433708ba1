"""Metrics of retraining without the training samples that a method ranks highest."""

from typing import Any

import numpy as np

from headwater.metrics.estimate import Estimate, as_array, as_finite, bootstrapped_mean


def query_loss_difference(without_top: Any, without_random: Any, **bootstrap: Any) -> Estimate:
    """Measure what the samples ranked highest for a query do for it, beyond random ones.

    QLD = mean_j mean_s ( loss_j without the top samples of j - loss_j without as many random ones ),
    both by models of seed s; the loss of the full model cancels out.

    Args:
        without_top: losses of the queries, (n_seeds, n_queries).
        without_random: likewise.
        bootstrap: seed, replicates and confidence of the interval, over queries and seeds jointly.

    Raises:
        ValueError: if shapes differ, or a value is not finite.
    """
    top = as_finite("without_top", without_top, 2)
    random = as_finite("without_random", without_random, 2)
    if top.shape != random.shape:
        raise ValueError(
            f"both must be (n_seeds, n_queries), got {top.shape} and {random.shape}: pair the seeds"
        )
    change, options = top - random, {"seed": 0, "replicates": 1000, "confidence": 0.95, **bootstrap}
    n = len(change)
    return bootstrapped_mean(change.mean(axis=0), n, lambda counts: counts @ change / n, **options)


def removal_curve(without: Any, full: Any, **bootstrap: Any) -> list[Estimate]:
    """Return the mean change of a function from the full model, (n_seeds, n_queries), at every share.

    `without` is (n_shares, n_seeds, n_queries); the rest as in `query_loss_difference`.
    """
    return [query_loss_difference(values, full, **bootstrap) for values in without]


def brittleness(shares: Any, largest: float, **bootstrap: Any) -> Estimate:
    """Return the mean share of its top samples whose removal flips the prediction of a query.

    Args:
        shares: (n_queries,), NaN for one that is wrong to begin with, which does not count; infinite
            for one that never flips, which counts as `largest`: the value is a lower bound then.
        largest: the largest share that was removed.
        bootstrap: as in `query_loss_difference`, over queries alone.
    """
    found = as_array("shares", shares, 1).astype(np.float64)
    if not (counted := found[~np.isnan(found)]).size:
        raise ValueError("shares must hold a query that is right to begin with, got none: ask more")
    shares = np.minimum(counted, largest)[None]
    return query_loss_difference(shares, np.zeros_like(shares), **bootstrap)
