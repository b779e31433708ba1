"""Headwater: find the training data that a prediction flows from.

The flat public API. Names are imported on first use, so that a part which needs no PyTorch
(for example ``headwater.metrics``) loads without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.explorer import explore as explore
    from headwater.scores import Scores as Scores
    from headwater.task import AttributionTask as AttributionTask

__version__ = "0.1.0"
__all__ = ["AttributionTask", "Scores", "__version__", "explore"]

_HOMES = {
    "AttributionTask": "headwater.task",
    "Scores": "headwater.scores",
    "explore": "headwater.explorer",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'headwater' has no attribute {name!r}")
