"""Linear datamodeling score."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.metrics.correlation import resampled_spearman, spearman_columns
from headwater.metrics.estimate import Array, Estimate, as_array, as_finite, bootstrapped_mean

_BLOCK_NUMBERS = 2**17
"""Scores that are summed at a time: a megabyte, which stays in the cache."""


def linear_datamodeling_score(
    scores: Any,
    subset_masks: Any,
    outputs: Any,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Measure how well summed scores rank the outputs of models trained on subsets.

    LDS = mean_j ρ( Σ_{i∈S} scores[i, j],  mean_r outputs[S, r, j] ), with Spearman's ρ over the
    subsets S. A test sample whose predictions or outputs are all equal counts as ρ = 0: nothing was
    ranked. The interval is a bootstrap over test samples and subsets jointly, with ranks
    computed anew in every resample; resampling both ways is conservative (Owen 2007).

    Args:
        scores: (n_train, n_test).
        subset_masks: bool (n_subsets, n_train).
        outputs: target values of the retrained models, (n_subsets, n_test) or
            (n_subsets, n_repeats, n_test).
        seed: of the bootstrap.
        replicates: bootstrap resamples; 0: no interval, its ends are NaN.
        confidence: probability that the interval covers.

    Raises:
        ValueError: if shapes disagree, a value is not finite, or there are fewer than 3 subsets.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """
    score_matrix = as_array("scores", scores, 2)
    masks, n_train = np.asarray(subset_masks), len(score_matrix)
    if masks.dtype != np.bool_ or masks.ndim != 2 or masks.shape[1] != n_train or len(masks) < 3:
        raise ValueError(
            f"subset_masks must be bool of shape (n_subsets >= 3, {n_train}), got {masks.dtype} of "
            f"shape {masks.shape}: pass one row per subset"
        )
    values = as_finite("outputs", outputs, 3 if np.ndim(outputs) == 3 else 2)
    truth = values.mean(axis=1) if values.ndim == 3 else values
    if truth.shape != (len(masks), score_matrix.shape[1]):
        raise ValueError(
            f"outputs must have shape ({len(masks)}, [n_repeats,] {score_matrix.shape[1]}), got "
            f"{values.shape}: use the outputs of these subsets and test samples"
        )
    predictions = _subset_sums(masks.astype(np.float64), score_matrix)
    per_test = spearman_columns(predictions, truth)
    resampled = partial(resampled_spearman, first=predictions, second=truth)
    return bootstrapped_mean(
        per_test, len(masks), resampled, seed, replicates, confidence, (-1.0, 1.0)
    )


def _subset_sums(masks: Array, scores: NDArray[Any]) -> Array:
    """Sums over each subset, (n_subsets, n_test), in float64; of the scores one block at a time."""
    # Differences to one row make the sums of a constant column exactly, not nearly, equal.
    first = scores[0].astype(np.float64)
    sums: Array = masks.sum(axis=1, keepdims=True) * first
    step = max(1, _BLOCK_NUMBERS // len(first))
    for start in range(0, len(scores), step):
        block = scores[start : start + step].astype(np.float64)
        with np.errstate(invalid="ignore"):  # not finite: said below
            block -= first
            sums += masks[:, start : start + step] @ block
    # 0 × NaN and 0 × inf are NaN: a sum over a subset shows also what lies outside of it.
    if not np.isfinite(sums).all():
        as_finite("scores", scores, 2)  # says where
    return sums
