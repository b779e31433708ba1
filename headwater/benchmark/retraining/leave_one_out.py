"""Leave-one-out retraining of many models in one batched computation."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.retraining.stacked import ModelStack
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.draws import epoch_draws, initial_model
from headwater.benchmark.training.training import check_finite_loss

__all__ = ["leave_one_out"]

_STACK_BYTES = 1 << 28


def leave_one_out(
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    removed: Sequence[int] | NDArray[np.integer],
    seed: int,
    models_at_once: int | None = None,
) -> list[dict[str, Tensor]]:
    r"""Retrain without each removed sample.

    All models, the full one among them, share initial weights, dropout masks and the order of all n
    samples; the batch that holds the removed sample i lacks it: θ_-i follows the mean loss over
    batch \ {i}. A batch that i alone made up gives a zero gradient. So f(full) - f(without i) is
    the effect of the sample and not of another random order.

    Args:
        setting: model, loss and recipe.
        inputs: training inputs (n, ...).
        labels: (n, ...).
        removed: places (r,) of the samples to leave out, one model each.
        seed: of the shared training run.
        models_at_once: size of a stack; default: as many as fit into 256 MB of parameters.

    Returns:
        1 + r state dicts: that of the full model, then one per removed sample.

    Raises:
        ValueError: if a place lies outside the training samples, or there is none.
        FloatingPointError: if a loss becomes NaN or infinite.
    """
    indices = torch.as_tensor(np.asarray(removed, dtype=np.int64))
    n = len(inputs)
    if indices.ndim != 1 or len(indices) < 1 or not bool(((indices >= 0) & (indices < n)).all()):
        raise ValueError(
            f"removed must hold indices in [0, {n}) of shape (r >= 1,), got shape "
            f"{tuple(indices.shape)}: pass the positions of training samples"
        )
    # Index -1 is no sample: the first model of the stack is the full one.
    left_out = torch.cat([torch.tensor([-1]), indices])
    if models_at_once is None:
        models_at_once = _models_that_fit(setting, inputs, seed)
    return [
        state
        for chunk in left_out.split(models_at_once)
        for state in _train_without(setting, inputs, labels, chunk, seed).states()
    ]


def _train_without(
    setting: Setting, inputs: Tensor, labels: Tensor, left_out: Tensor, seed: int
) -> ModelStack:
    model = initial_model(setting, seed, inputs)
    stack = ModelStack(setting, [model] * len(left_out))
    left_out, dtype = left_out.to(inputs.device), next(model.parameters()).dtype
    for epoch in range(1, stack.recipe.epochs + 1):
        total = torch.zeros(len(left_out), dtype=dtype, device=inputs.device)
        for draw in epoch_draws(stack.recipe, seed, epoch, len(inputs), model):
            batch = draw.places.to(inputs.device)
            present = (batch != left_out[:, None]).to(dtype)
            weights = present / present.sum(dim=1, keepdim=True).clamp(min=1)
            keys = {name: word.to(inputs.device) for name, word in draw.keys.items()}
            seen = draw.augmented(stack.recipe, inputs[batch])
            total += stack.step(seen, labels[batch], weights, keys, draw.factor, shared=True)
        check_finite_loss(float(total.sum()), epoch, setting)
    return stack


def _models_that_fit(setting: Setting, inputs: Tensor, seed: int) -> int:
    model = initial_model(setting, seed, inputs)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    return max(1, _STACK_BYTES // size)
