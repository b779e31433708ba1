"""Values of targets on samples, for the parameters of a given state."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from headwater.benchmark.settings.setting import Setting
from headwater.targets import Target

__all__ = ["FunctionOfModel", "evaluate_many", "evaluate_targets"]


class FunctionOfModel(nn.Module):
    """Make f(model, batch) a module, so that functional_call reaches the model inside f.

    Args:
        model: The model; its tensors are named `model.NAME` here.
        function: A loss or a target.
    """

    def __init__(self, model: nn.Module, function: Target) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, batch: Any) -> Tensor:
        """Return f(model, batch), shape (batch,)."""
        return self.function(self.model, batch)


def evaluate_targets(
    model: nn.Module,
    state: Mapping[str, Tensor],
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 1000,
) -> dict[str, Tensor]:
    """Evaluate every target of a setting in eval mode, without gradients.

    Args:
        model: The architecture; its own parameters are not read, its mode is restored.
        state: State dict to evaluate, on any device.
        setting: Gives the targets.
        inputs: (n, ...).
        labels: int64 (n,).
        batch_size: Samples a forward pass; does not change the result.

    Returns:
        Target name -> values (n,).
    """
    named = {f"model.{name}": tensor.to(inputs.device) for name, tensor in state.items()}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return {
                name: torch.cat(
                    [
                        functional_call(FunctionOfModel(model, target), named, (batch,))
                        for batch in zip(
                            inputs.split(batch_size), labels.split(batch_size), strict=True
                        )
                    ]
                )
                for name, target in setting.targets.items()
            }
    finally:
        model.train(was_training)


def evaluate_many(
    setting: Setting, stacked: Mapping[str, Tensor], inputs: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Evaluate every target of a setting for many models.

    Args:
        setting: Gives the architecture and the targets.
        stacked: State dicts of r models, stacked: name -> (r, ...), on any device.
        inputs: (n, ...); the models are evaluated where these are.
        labels: int64 (n,).

    Returns:
        Target name -> values (r, n).
    """
    model = setting.make_model().to(device=inputs.device, dtype=inputs.dtype)
    count = len(next(iter(stacked.values())))
    values = [
        evaluate_targets(
            model, {name: t[i] for name, t in stacked.items()}, setting, inputs, labels
        )
        for i in range(count)
    ]
    return {name: torch.stack([v[name] for v in values]) for name in setting.targets}
