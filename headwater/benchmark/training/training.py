"""Training of one model, reproducible from its seed and its samples alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.recipes import END, Checkpoint, Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.run import Run, copied

__all__ = ["check_epochs", "check_finite_loss", "subset_rows", "train_epochs", "train_model"]

Subset = NDArray[np.bool_] | Tensor | None


def train_epochs(
    setting: Setting, inputs: Tensor, labels: Tensor, seed: int, subset: Subset = None
) -> Iterator[Checkpoint]:
    """Train the model of a setting, and yield a checkpoint after each epoch.

    Args:
        setting: model, loss, and a recipe or a training loop.
        inputs: (n, ...).
        labels: (n, ...).
        seed: of the run.
        subset: bool (n,), the samples to train on; None: all.

    Raises:
        ValueError: if the subset has another shape or type, or is empty.
        FloatingPointError: if the loss becomes NaN or infinite.
    """
    rows = subset_rows(subset, len(inputs))
    if not isinstance(setting.recipe, Recipe):
        mask = torch.zeros(len(inputs), dtype=torch.bool).index_fill_(0, rows, True)
        for checkpoint in setting.recipe(inputs, labels, seed, mask.to(inputs.device)):
            if not math.isnan(checkpoint.loss):
                check_finite_loss(checkpoint.loss, checkpoint.epoch, setting)
            yield checkpoint
        return
    run = Run(setting, inputs, labels, seed, rows)
    for epoch in range(1, setting.recipe.epochs + 1):
        loss = run.advance(run.draws(epoch))
        check_finite_loss(loss, epoch, setting)
        rate = run.optimizer.param_groups[0]["lr"]
        yield Checkpoint(epoch, rate, copied(run.model.state_dict()), loss)


def train_model(
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    seed: int,
    subset: Subset = None,
    *,
    epochs: Sequence[int] = (END,),
) -> list[Checkpoint]:
    """Train the model of a setting until the last of some epochs, and return its state after each.

    Args:
        setting: model, loss, and a recipe or a training loop.
        inputs: (n, ...).
        labels: (n, ...).
        seed: of the run.
        subset: bool (n,), the samples to train on; None: all.
        epochs: counted from 1, ascending; `END`, as the last, is the end of training.

    Raises:
        ValueError: if training ends before an epoch, or the subset has no sample.
        FloatingPointError: if the loss becomes NaN or infinite.
    """
    wanted = check_epochs(setting, epochs)
    kept: dict[int, Checkpoint] = {}
    for checkpoint in train_epochs(setting, inputs, labels, seed, subset):
        if checkpoint.epoch in wanted:
            kept[checkpoint.epoch] = checkpoint
        if END in wanted:
            kept[END] = checkpoint
        elif checkpoint.epoch == wanted[-1]:
            break
    for epoch in wanted:
        if epoch not in kept:
            raise ValueError(
                f"training of {setting.name} must have an epoch {epoch}, got none; choose another"
            )
    return [kept[epoch] for epoch in wanted]


def check_epochs(setting: Setting, epochs: Sequence[int]) -> list[int]:
    """Return epochs with the end of a recipe, which is known, as a number.

    Raises:
        ValueError: if they do not ascend, or a recipe ends before one of them.
    """
    end = setting.recipe.epochs if isinstance(setting.recipe, Recipe) else END
    found = [end if epoch == END else epoch for epoch in epochs]
    order = [math.inf if epoch == END else epoch for epoch in found]
    rises = all(low < high for low, high in itertools.pairwise([0, *order]))
    if not found or not rises or (end != END and order[-1] > end):
        raise ValueError(
            f"epochs must ascend from 1 to the end of {setting.name}"
            f"{'' if end == END else f' after {end}'}, got {list(epochs)}; choose others"
        )
    return found


def subset_rows(subset: Subset, n: int) -> Tensor:
    """Return the places int64 (m,) of the samples in a subset mask (n,); all of them for None.

    Raises:
        ValueError: if the mask has another shape or type, or is empty.
    """
    if subset is None:
        return torch.arange(n)
    mask = torch.as_tensor(subset).cpu()
    if mask.dtype != torch.bool or mask.shape != (n,) or not bool(mask.any()):
        raise ValueError(
            f"subset must be a bool mask ({n},) with at least one sample, got {mask.dtype} of "
            f"shape {tuple(mask.shape)}, {int(mask.sum())} samples; pass a row of the subset masks"
        )
    return mask.nonzero().squeeze(1)


def check_finite_loss(loss: float, epoch: int, setting: Setting) -> None:
    """Raise FloatingPointError unless the mean loss of an epoch is finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the training loss of {setting.name} must stay finite, got {loss} in epoch {epoch}; "
            "lower the learning rate, or look for NaN in the inputs"
        )
