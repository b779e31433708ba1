"""One table of all attributors, with what each promises and its slow twin.

A new attributor needs one row in a file of this folder, and is then held to every law of
tests/attributors/test_laws.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from headwater.attributors import Attributor
from headwater.attributors.source import CapturedSource
from tests.laws import (
    data_value,
    exact_trak,
    features,
    influence,
    iterative,
    projected,
    similarity,
    structured,
    unrolling,
)
from tests.laws.row import Row

__all__ = ["TABLE", "Row", "float64_scores"]

TABLE: dict[str, Row] = {
    **similarity.TABLE,
    **influence.TABLE,
    **iterative.TABLE,
    **projected.TABLE,
    **structured.TABLE,
    **features.TABLE,
    **data_value.TABLE,
    **unrolling.TABLE,
    **exact_trak.TABLE,
}


def float64_scores(attributor: Attributor, train: Any, test: Any) -> Tensor:
    """Return the scores before they are rounded to float32, for comparisons to 1e-10."""
    task, total, weights = attributor.task, 0.0, []
    for c in range(len(task.checkpoints)):
        source = CapturedSource(task, c, train, attributor.train_function, attributor.represent)
        source.capture_test(test)
        solved = attributor.solve(source, attributor.prepare(source))
        blocks = [block for _, block in attributor.score(source, solved)]
        total = total + attributor.checkpoint_weight(c, len(task.checkpoints)) * torch.cat(blocks)
        weights.append(attributor.sample_weight(source))
    if weights[0] is not None:
        total = total * torch.stack(weights).mean(0)[:, None]
    return total
