"""Leave-one-out correlation."""

from functools import partial
from typing import Any

import numpy as np

from headwater.metrics.correlation import pearson_columns, resampled_pearson
from headwater.metrics.estimate import Estimate, as_finite, bootstrapped_mean


def leave_one_out_correlation(
    scores: Any,
    removed: Any,
    outputs_without: Any,
    outputs_full: Any,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Correlate scores with the effects of really leaving samples out.

    LOO = mean_j r( scores[i, j],  f_j(full) - f_j(without i) ), with Pearson's r over the removed
    samples i. A test sample whose scores or effects are all equal counts as r = 0. The interval is
    a bootstrap over test samples and removed samples jointly.

    Args:
        scores: (n_train, n_test).
        removed: indices (r,) of the removed samples, rows of `scores`.
        outputs_without: target values of the models without each of them, (r, n_test).
        outputs_full: target values of the model with all samples, (n_test,).
        seed: of the bootstrap.
        replicates: bootstrap resamples; 0: no interval, its ends are NaN.
        confidence: probability that the interval covers.

    Raises:
        ValueError: if shapes disagree, a value is not finite, an index is out of range or appears
            twice, or there are fewer than 3 of them.

    Reference:
        Koh and Liang, Understanding Black-box Predictions via Influence Functions, ICML 2017.
    """
    score_matrix = as_finite("scores", scores, 2)
    n_train, n_test = score_matrix.shape
    indices = np.asarray(removed)
    if (
        indices.ndim != 1
        or not np.issubdtype(indices.dtype, np.integer)
        or len(np.unique(indices)) != len(indices)
        or len(indices) < 3
        or indices.min() < 0
        or indices.max() >= n_train
    ):
        raise ValueError(
            f"removed must hold 3 or more different indices in [0, {n_train}), got {indices.dtype} "
            f"of shape {indices.shape}: pass the row of `scores` of each removed sample"
        )
    without = as_finite("outputs_without", outputs_without, 2)
    full = as_finite("outputs_full", outputs_full, 1)
    if without.shape != (len(indices), n_test) or full.shape != (n_test,):
        raise ValueError(
            f"outputs_without must have shape ({len(indices)}, {n_test}) and outputs_full "
            f"({n_test},), got {without.shape} and {full.shape}: use the same test samples"
        )
    predicted, effects = score_matrix[indices], full - without
    per_test = pearson_columns(predicted, effects)
    resampled = partial(resampled_pearson, first=predicted, second=effects)
    return bootstrapped_mean(
        per_test, len(indices), resampled, seed, replicates, confidence, (-1.0, 1.0)
    )
