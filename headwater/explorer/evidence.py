"""What is known beside the scores: what a method is worth, suspicious labels, scores of tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

__all__ = ["Evidence", "Suspects", "TokenScores"]


@dataclass(frozen=True)
class Evidence:
    """What the scores of a method are worth, against models that were retrained.

    An estimate is one of `headwater.metrics`, or a mapping with value, low and high.

    Args:
        lds: linear datamodeling score.
        ceiling: noise ceiling of the LDS, what perfect scores would reach.
        models: how many models the scores come from.
        removal: how much the loss of test samples rises without their top training samples: points with
            share (of the training samples), value, low and high.
        random: the same for random samples.
    """

    lds: Any = None
    ceiling: Any = None
    models: int | None = None
    removal: Sequence[Mapping[str, float]] = ()
    random: Sequence[Mapping[str, float]] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return {
            "lds": _estimate(self.lds),
            "ceiling": _estimate(self.ceiling),
            "models": self.models,
            "removal": [_point(point) for point in self.removal],
            "random": [_point(point) for point in self.random],
        }


@dataclass(frozen=True)
class Suspects:
    """Training samples by self-influence: large means that the label may be wrong.

    Args:
        self_influence: method -> how much each sample lowers its own loss, (n,), of the first n training
            samples; all methods alike.
        labels: that these samples were trained with, where they differ from those of the training split.
        flipped: whether each label is known to be wrong, (n,): the list then says its precision.
        predictions: what the model predicts for them.
    """

    self_influence: Mapping[str, ArrayLike]
    labels: Any = None
    flipped: Any = None
    predictions: Any = None


@dataclass(frozen=True)
class TokenScores:
    """Scores of single tokens, as `attribute(per_token=...)` returns them.

    Args:
        test: of each token of the test samples, (n_train, n_test, T).
        train: of each token of the training samples, (n_train, T, n_test).
    """

    test: ArrayLike | None = None
    train: ArrayLike | None = None


def _estimate(found: Any) -> dict[str, float | None] | None:
    if found is None:
        return None
    read = found.get if isinstance(found, Mapping) else lambda name: getattr(found, name)
    return {name: _number(read(name)) for name in ("value", "low", "high")}


def _point(found: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(found[name]) for name in ("share", "value", "low", "high")}


def _number(value: Any) -> float | None:
    """Return a number that JSON has; NaN, an interval without bootstrap, is None."""
    if value is None or math.isnan(value):
        return None
    return round(float(value), 6)
