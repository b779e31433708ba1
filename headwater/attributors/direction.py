"""Which way a target goes when the prediction improves: the sign of methods without gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headwater.batches import Batch, batch_size, to_device
from headwater.model_outputs import logits_of, replace_logits
from headwater.task import BoundModel, SampleFunction

__all__ = ["direction"]


def direction(
    model: BoundModel, loss: SampleFunction, target: SampleFunction, batch: Batch
) -> float:
    """Return +1 for a target that rises when the loss falls, -1 for one that falls with it.

    The sign of ⟨∂f_i/∂z, -∂ℓ_i/∂z⟩, z the logits of the model: +1 for margin, logit and
    log-probability, -1 for the loss. Cost: two passes over the output.

    Raises:
        ValueError: if the target rises at some samples and falls at others, or at none does either.

    Example:
        >>> from headwater import AttributionTask, targets
        >>> task = AttributionTask(nn.Linear(2, 3), targets.cross_entropy, targets.margin)
        >>> batch = torch.ones(1, 2), torch.tensor([0])
        >>> direction(task.bind(), task.loss, task.target, batch)
        1.0
    """
    batch = to_device(batch, model.device)
    of_loss = _output_gradients(model, loss, batch)
    if target is loss:
        return -1.0
    of_target = _output_gradients(model, target, batch)
    if of_target.shape != of_loss.shape:
        raise ValueError(
            "loss and target must call the model on the same inputs, got outputs of "
            f"{of_loss.shape[1]} and {of_target.shape[1]} numbers per sample; explain the loss"
        )
    products = -(of_target * of_loss).sum(1)
    rising, falling = int((products > 0).sum()), int((products < 0).sum())
    if bool(rising) == bool(falling):
        raise ValueError(
            "the target must rise or fall with the loss, the same at every sample, got "
            f"{rising} samples where it rises as the loss falls and {falling} where it falls with it "
            f"(of {len(products)}); explain the loss, or a margin or probability of the label"
        )
    return 1.0 if rising else -1.0


def _output_gradients(model: BoundModel, function: SampleFunction, batch: Batch) -> Tensor:
    """Return ∂f_i/∂z, z the logits of all calls of the model in their order, (n, numbers)."""
    outputs: list[Tensor] = []

    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        outputs.append(logits_of(output).detach().requires_grad_())
        return replace_logits(output, outputs[-1].clone())

    n = batch_size(batch)
    with torch.enable_grad(), model.module.register_forward_hook(hook):
        values = model.values(function, batch)
    if not outputs or any(z.ndim == 0 or len(z) != n for z in outputs):
        raise ValueError(
            f"loss and target must call the model on the {n} samples of a batch, got outputs of shape "
            f"{[tuple(z.shape) for z in outputs]}; write them as f(model, batch) with model(inputs)"
        )
    if not values.requires_grad:
        return torch.cat([torch.zeros_like(z).flatten(1) for z in outputs], 1).detach()
    found = torch.autograd.grad(values.sum(), outputs, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten(1) for gradient in found], 1)
