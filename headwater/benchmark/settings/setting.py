"""What a setting of the benchmark is: data + model + loss + how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from headwater.benchmark.datasets.samples import Draw, Samples
from headwater.benchmark.recipes import Recipe, TrainingRun
from headwater.targets import Target

__all__ = ["Setting"]


@dataclass(frozen=True)
class Setting:
    """One setting of the benchmark.

    Args:
        name: name in `params.yaml`, such as "mnist-lr".
        make_model: builds an initialised model from the global random state.
        load_data: reads the samples from a data directory.
        loss: training loss, one value per sample.
        targets: functions to explain, by name.
        recipe: how the model is trained: hyper-parameters, or a training loop of its own.
        draw: makes so many random samples of the right shapes, which plans take; default: the first
            ones of the data are taken.
    """

    name: str
    make_model: Callable[[], nn.Module]
    load_data: Callable[[Path], Samples]
    loss: Target
    targets: Mapping[str, Target]
    recipe: Recipe | TrainingRun
    draw: Draw | None = None
