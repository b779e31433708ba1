"""The training runs of an ensemble, for methods that follow them back."""

from __future__ import annotations

from torch import Tensor

from headwater.replay import Replay
from headwater.retraining import derive_seed
from headwater.settings import get_setting

__all__ = ["training_runs"]


def training_runs(
    setting: str, inputs: Tensor, labels: Tensor, seed: int, count: int
) -> dict[str, list[Replay]]:
    """Return {"runs": the first runs of stage train}, from their seeds."""
    seeds = [derive_seed(seed, "train", index) for index in range(count)]
    return {"runs": [Replay(get_setting(setting), inputs, labels, run) for run in seeds]}
