"""What the scores of a method are worth against a ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from headwater.metrics import (
    Estimate,
    leave_one_out_correlation,
    linear_datamodeling_score,
    noise_ceiling,
    noisy_label_auc,
)

__all__ = ["Evaluation", "as_record"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """Every metric of a method, on tuning and on reported test samples.

    Args:
        masks: the random subsets, (n_subsets, n_train).
        outputs: function -> what models trained on them say, (n_subsets, n_repeats, n_test).
        flipped: which of the noisy samples have a wrong label, (n_noisy,).
        n_tune: the first test samples, which chose the dampings and are not reported.
        bootstrap: replicates, confidence and seed of the intervals.
        removed: the samples that were left out, (r,); None: none was.
        without: function -> what the full model and those without a sample say, (1 + r, n_test).
    """

    masks: Array
    outputs: Mapping[str, Array]
    flipped: Array
    n_tune: int
    bootstrap: Mapping[str, Any]
    removed: Array | None = None
    without: Mapping[str, Array] | None = None

    def of(self, scores: Array, self_influence: Array, function: str) -> dict[str, Any]:
        """Return {"lds", "loo", "auc", "tune": {"lds", "loo"}}, estimates as records.

        Args:
            scores: (n_train, n_test), of the function that they explain.
            self_influence: of the noisy samples, (n_noisy,).
            function: a name of `outputs`.
        """
        auc = noisy_label_auc(self_influence, self.flipped, **self.bootstrap)
        return {
            **self._correlations(scores, function, slice(self.n_tune, None)),
            "auc": as_record(auc),
            "tune": self._correlations(scores, function, slice(self.n_tune)),
        }

    def ceiling(self, function: str) -> dict[str, float]:
        """Return the noise ceiling of the LDS on the reported test samples."""
        return as_record(
            noise_ceiling(self.outputs[function][:, :, self.n_tune :], **self.bootstrap)
        )

    def _correlations(self, scores: Array, function: str, tests: slice) -> dict[str, Any]:
        outputs = self.outputs[function][:, :, tests]
        lds = linear_datamodeling_score(scores[:, tests], self.masks, outputs, **self.bootstrap)
        if self.removed is None or self.without is None:
            return {"lds": as_record(lds)}
        values = self.without[function][:, tests]
        loo = leave_one_out_correlation(
            scores[:, tests], self.removed, values[1:], values[0], **self.bootstrap
        )
        return {"lds": as_record(lds), "loo": as_record(loo)}


def as_record(estimate: Estimate) -> dict[str, float]:
    """Return value and interval, rounded to what the bootstrap resolves."""
    names = ("value", "low", "high")
    return {name: round(float(getattr(estimate, name)), 4) for name in names}
