"""What a setting of the benchmark is: data + model + loss + training recipe."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from headwater.benchmark.datasets.samples import Samples
from headwater.targets import Target

__all__ = ["Recipe", "Setting"]


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of training by stochastic gradient descent.

    g = ∇loss + weight_decay · θ;  b ← momentum · b + g;  θ ← θ - learning_rate · b

    Args:
        learning_rate: Step size η > 0.
        batch_size: Samples a step; the last batch of an epoch may be smaller.
        epochs: Passes over the training samples.
        momentum: Factor of the velocity b, 0 <= momentum < 1.
        weight_decay: L2 coefficient, >= 0.

    Raises:
        ValueError: If a value lies outside its range.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if (
            self.learning_rate <= 0
            or self.batch_size < 1
            or self.epochs < 1
            or not 0 <= self.momentum < 1
            or self.weight_decay < 0
        ):
            raise ValueError(
                "a recipe needs learning_rate > 0, batch_size >= 1, epochs >= 1, "
                f"0 <= momentum < 1, weight_decay >= 0, got {self}: correct the value"
            )


@dataclass(frozen=True)
class Setting:
    """One setting of the benchmark.

    Args:
        name: Name in `params.yaml`, such as "mnist-lr".
        make_model: Builds an initialised model from the global random state.
        load_data: Reads the samples from a data directory.
        loss: Training loss, one value per sample.
        targets: Functions to explain, by name.
        recipe: How the model is trained.
    """

    name: str
    make_model: Callable[[], nn.Module]
    load_data: Callable[[Path], Samples]
    loss: Target
    targets: Mapping[str, Target]
    recipe: Recipe

    def stopped_after(self, epochs: int | None) -> "Setting":
        """Return the same setting with training stopped early; None: as it is.

        Raises:
            ValueError: If the recipe has fewer epochs.
        """
        if epochs is None:
            return self
        if epochs > self.recipe.epochs:
            raise ValueError(
                f"training of {self.name} ends after {self.recipe.epochs} epochs, it cannot be stopped "
                f"after {epochs}: choose fewer"
            )
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, epochs=epochs))
