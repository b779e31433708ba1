"""The choice of a damping by LDS on test samples that are not reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.attributors.attributor import Attributor
from headwater.attributors.scoring import scores_into
from headwater.gradients.source import GradientSource
from headwater.metrics import linear_datamodeling_score
from headwater.solvers import State

__all__ = ["lds_of_each"]


def lds_of_each(
    attributors: Sequence[Attributor],
    sources: Sequence[GradientSource],
    solved: Sequence[Sequence[State]],
    masks: NDArray[np.bool_],
    outputs: NDArray[Any],
) -> list[float]:
    """Return the LDS of methods that differ in their damping, rounded to four digits.

    Args:
        attributors: one per damping.
        sources: one per checkpoint, with the tuning samples as test samples.
        solved: what each attributor solved at each checkpoint, solved[checkpoint][attributor].
        masks: the random subsets, (n_subsets, n_train).
        outputs: what models trained on them say of the tuning samples, (n_subsets, n_repeats, n_tune).
    """
    scores = np.empty((masks.shape[1], outputs.shape[2]), np.float32)
    found = []
    for place, attributor in enumerate(attributors):
        scores_into(attributor, scores, sources, (states[place] for states in solved))
        found.append(linear_datamodeling_score(scores, masks, outputs, replicates=0).value)
    return [round(lds, 4) for lds in found]
