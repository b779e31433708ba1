"""Values of targets on samples, for the parameters of a given state."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headwater.benchmark.settings.setting import Setting
from headwater.labels import IGNORED, labelled_logits
from headwater.targets import Target

__all__ = ["FunctionOfModel", "evaluate_targets", "predicts_labels"]


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
    setting: Setting,
    state: Mapping[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 1000,
) -> dict[str, Tensor]:
    """Evaluate every target of a setting in eval mode, without gradients.

    Args:
        setting: gives the architecture and the targets.
        state: state dict to evaluate, on any device.
        inputs: (n, ...); the model is evaluated where these are.
        labels: (n, ...).
        batch_size: samples per forward pass; it does not change the result.

    Returns:
        Target name -> values (n,).
    """
    with torch.random.fork_rng(devices=[]):
        model = setting.make_model()
    model.load_state_dict(state, assign=True)
    model = model.to(inputs.device).eval()
    batches = list(zip(inputs.split(batch_size), labels.split(batch_size), strict=True))
    with torch.no_grad():
        return {
            name: torch.cat([target(model, batch) for batch in batches])
            for name, target in setting.targets.items()
        }


def predicts_labels(model: Any, batch: Any) -> Tensor:
    """Return whether the model's most probable classes are the labels, at all positions, (batch,)."""
    logits, labels = labelled_logits(model, batch)
    return ((logits.argmax(dim=-1) == labels) | (labels == IGNORED)).all(dim=1)
