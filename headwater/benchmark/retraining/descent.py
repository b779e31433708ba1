"""The update of stochastic gradient descent, for one model or a stack of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.benchmark.settings.setting import Recipe

__all__ = ["sgd_step"]


@torch.no_grad()
def sgd_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    recipe: Recipe,
) -> None:
    """Update parameters and velocities in place.

    g ← g + weight_decay · θ;  b ← momentum · b + g;  θ ← θ - learning_rate · b

    Args:
        parameters: θ, any shapes.
        gradients: ∇loss, same shapes; overwritten.
        velocities: b, same shapes, zero before the first step; unused without momentum.
        recipe: The hyper-parameters.
    """
    for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
        if recipe.weight_decay:
            gradient.add_(parameter, alpha=recipe.weight_decay)
        if recipe.momentum:
            gradient = velocity.mul_(recipe.momentum).add_(gradient)  # noqa: PLW2901
        parameter.add_(gradient, alpha=-recipe.learning_rate)
