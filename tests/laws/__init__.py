"""One table of all attributors, with what each promises and its slow twin.

A new attributor needs one row in a file of this folder, and is then held to every law of
tests/attributors/test_laws.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from headwater.attributors import Attributor
from headwater.gradients.source import CapturedSource
from headwater.loader import LoadedData
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

__all__ = ["TABLE", "Row", "float64_scores", "sources_of"]

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


def sources_of(attributor: Attributor, train: Any, test: Any = ()) -> list[CapturedSource]:
    """Return one source per checkpoint, as the attributor opens them."""
    sources = attributor.open(LoadedData(train, "train_loader", 10**9))
    return [source.with_tests(test) for source in sources] if test else sources


def float64_scores(attributor: Attributor, train: Any, test: Any) -> Tensor:
    """Return the scores before they are rounded to float32, for comparisons to 1e-10."""
    total, weights = 0.0, []
    sources = sources_of(attributor, train, test)
    for c, source in enumerate(sources):
        solved = attributor.solve(source, attributor.prepare(source))
        blocks = [block for _, block in attributor.score(source, solved)]
        total = total + attributor.checkpoint_weight(c, len(sources)) * torch.cat(blocks)
        weights.append(attributor.sample_weight(source))
    if weights[0] is not None:
        total = total * torch.stack(weights).mean(0)[:, None]
    return total
