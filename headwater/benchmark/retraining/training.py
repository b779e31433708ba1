"""Training of one model, reproducible from its seed alone."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headwater.benchmark.retraining.descent import sgd_step
from headwater.benchmark.retraining.schedule import (
    checkpoint_epochs,
    dropout_keys,
    epoch_order,
    initial_model,
)
from headwater.benchmark.retraining.seeds import derive_seed
from headwater.benchmark.settings.setting import Setting

__all__ = ["Checkpoint", "Trained", "check_finite_loss", "subset_rows", "train_model"]

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Checkpoint:
    """A state of the model during training.

    Args:
        epoch: Epochs done, counted from 1.
        learning_rate: Learning rate in force at that time.
        state: State dict.
    """

    epoch: int
    learning_rate: float
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """Result of a training run.

    Args:
        model_state: Final state dict.
        losses: Mean training loss over the batches of each epoch.
        checkpoints: Evenly spaced states, the final one last; empty unless asked for.
    """

    model_state: dict[str, Tensor]
    losses: list[float]
    checkpoints: list[Checkpoint]


def train_model(
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    seed: int,
    subset: NDArray[np.bool_] | Tensor | None = None,
    *,
    checkpoint_count: int = 0,
    progress: Progress | None = None,
) -> Trained:
    """Train the model of a setting on the samples, or on a subset of them.

    Initial weights, order of the samples and dropout masks follow from the seed alone. The model
    takes dtype and device of the inputs.

    Args:
        setting: Model, loss and recipe.
        inputs: (n, ...).
        labels: int64 (n,).
        seed: Seed of the run.
        subset: bool (n,), the samples to train on; all of them by default.
        checkpoint_count: How many evenly spaced checkpoints to keep.
        progress: Called as progress(epoch, mean loss) after every epoch.

    Raises:
        ValueError: If the subset has another shape or type, or is empty.
        FloatingPointError: If the loss becomes NaN or infinite.
    """
    rows = subset_rows(subset, len(inputs)).to(inputs.device)
    kept_epochs = checkpoint_epochs(setting.recipe.epochs, checkpoint_count)
    model = initial_model(setting, seed, inputs).train()
    velocities = [torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
    losses: list[float] = []
    checkpoints: list[Checkpoint] = []
    devices = [inputs.device] if inputs.is_cuda else []
    # Layers that draw from the global random state are reproducible as well.
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, "global"))
        for epoch in range(1, setting.recipe.epochs + 1):
            order = epoch_order(seed, epoch, len(rows)).to(rows.device)
            chosen = rows[order].split(setting.recipe.batch_size)
            keys = dropout_keys(seed, epoch, len(chosen), model)
            batches = ((inputs[batch], labels[batch]) for batch in chosen)
            loss = _train_epoch(setting, model, velocities, batches, keys)
            check_finite_loss(loss, epoch, setting)
            losses.append(loss)
            if epoch in kept_epochs:
                checkpoints.append(
                    Checkpoint(epoch, setting.recipe.learning_rate, _copy_state(model))
                )
            if progress is not None:
                progress(epoch, loss)
    return Trained(_copy_state(model), losses, checkpoints)


def subset_rows(subset: NDArray[np.bool_] | Tensor | None, n: int) -> Tensor:
    """Return the indices int64 (m,) of the samples in a subset mask (n,); all of them for None.

    Raises:
        ValueError: If the mask has another shape or type, or is empty.
    """
    if subset is None:
        return torch.arange(n)
    mask = torch.as_tensor(subset).cpu()
    if mask.dtype != torch.bool or mask.shape != (n,) or not bool(mask.any()):
        raise ValueError(
            f"subset must be a bool mask ({n},) with at least one sample, got {mask.dtype} of "
            f"shape {tuple(mask.shape)}, {int(mask.sum())} samples: pass a row of the subset masks"
        )
    return mask.nonzero().squeeze(1)


def check_finite_loss(loss: float, epoch: int, setting: Setting) -> None:
    """Raise FloatingPointError unless the mean loss of an epoch is finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the training loss of {setting.name} must stay finite, got {loss} in epoch {epoch}: "
            f"lower learning_rate={setting.recipe.learning_rate} or look for NaN in the inputs"
        )


def _train_epoch(
    setting: Setting,
    model: nn.Module,
    velocities: list[Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    keys: dict[str, Tensor],
) -> float:
    parameters = [p for p in model.parameters() if p.requires_grad]
    buffers = dict(model.named_buffers())
    losses: list[Tensor] = []
    for step, batch in enumerate(batches):
        for name, words in keys.items():
            buffers[name].copy_(words[step])
        loss = setting.loss(model, batch).mean()
        gradients = torch.autograd.grad(loss, parameters)
        sgd_step(parameters, gradients, velocities, setting.recipe)
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
