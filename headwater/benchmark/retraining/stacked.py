"""Training of many models at once, their parameters stacked along a first dimension."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.retraining.descent import sgd_step
from headwater.benchmark.retraining.evaluation import FunctionOfModel
from headwater.benchmark.retraining.schedule import (
    checkpoint_epochs,
    dropout_keys,
    epoch_order,
    initial_model,
)
from headwater.benchmark.retraining.training import (
    Checkpoint,
    Trained,
    check_finite_loss,
    subset_rows,
)
from headwater.benchmark.settings.setting import Setting

__all__ = ["ModelStack", "train_stacked"]


class ModelStack:
    """Parameters of r models of one architecture, trained by one vmap over the stack.

    Args:
        setting: Loss and recipe.
        models: The r initialised models, equal in architecture.

    Raises:
        ValueError: If the models hold buffers (such as BatchNorm's) or frozen parameters.
    """

    def __init__(self, setting: Setting, models: Sequence[nn.Module]) -> None:
        self.setting = setting
        self.model = models[0]
        keys = {
            f"{name}.key"
            for name, module in self.model.named_modules()
            if isinstance(module, StatelessDropout)
        }
        others = set(dict(self.model.named_buffers())) - keys
        others |= {name for name, p in self.model.named_parameters() if not p.requires_grad}
        if others:
            raise ValueError(
                f"stacked models must hold trainable parameters only, got "
                f"{', '.join(sorted(others))}: train them one by one with train_model"
            )
        named = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([parameters[name].detach() for parameters in named])
            for name in named[0]
        }
        self._velocities = [torch.zeros_like(p) for p in self.parameters.values()]
        self._loss = FunctionOfModel(self.model.train(), setting.loss)

    def __len__(self) -> int:
        """Return the number of models."""
        return len(next(iter(self.parameters.values())))

    def state(self, index: int) -> dict[str, Tensor]:
        """Return a copy of one model's state dict."""
        return {name: stacked[index].clone() for name, stacked in self.parameters.items()}

    def step(
        self, inputs: Tensor, labels: Tensor, weights: Tensor, keys: dict[str, Tensor], shared: bool
    ) -> Tensor:
        """Make one step of gradient descent on Σ_b weights_b · loss_b, for all models.

        Args:
            inputs: (B, ...) if shared by all models, else (r, B, ...).
            labels: (B,) or (r, B).
            weights: Weights of the samples, (B,) or (r, B).
            keys: Dropout keys, scalars if shared, else (r,).
            shared: Whether all models see the same batch and keys.

        Returns:
            Weighted losses before the step, (r,).
        """
        batch_dim = None if shared else 0
        weight_dim = 0 if weights.ndim == 2 else None
        per_model = vmap(
            grad_and_value(self._objective),
            in_dims=(0, batch_dim, batch_dim, batch_dim, weight_dim),
        )
        with torch.no_grad():
            gradients, losses = per_model(self.parameters, keys, inputs, labels, weights)
        names = list(self.parameters)
        sgd_step(
            list(self.parameters.values()),
            [gradients[name] for name in names],
            self._velocities,
            self.setting.recipe,
        )
        values: Tensor = losses
        return values

    def _objective(
        self,
        parameters: dict[str, Tensor],
        keys: dict[str, Tensor],
        inputs: Tensor,
        labels: Tensor,
        weights: Tensor,
    ) -> Tensor:
        named = {f"model.{name}": tensor for name, tensor in {**parameters, **keys}.items()}
        losses: Tensor = functional_call(self._loss, named, ((inputs, labels),))
        return (losses * weights).sum()


def train_stacked(
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    subsets: NDArray[np.bool_] | Tensor | None = None,
    *,
    checkpoint_count: int = 0,
) -> list[Trained]:
    """Train one model per seed at once; result i is that of train_model(seeds[i], subsets[i]).

    Faster than one by one on a GPU; on a CPU use processes (`train_many`).

    Args:
        setting: Model, loss and recipe.
        inputs: (n, ...).
        labels: int64 (n,).
        seeds: r seeds.
        subsets: bool (r, n), all rows of equal size; all samples by default.
        checkpoint_count: How many evenly spaced checkpoints to keep of each model.

    Raises:
        ValueError: If the subsets differ in size or in number from the seeds.
        FloatingPointError: If a loss becomes NaN or infinite.
    """
    rows = _stacked_rows(subsets, len(seeds), len(inputs)).to(inputs.device)
    kept_epochs = checkpoint_epochs(setting.recipe.epochs, checkpoint_count)
    stack = ModelStack(setting, [initial_model(setting, seed, inputs) for seed in seeds])
    losses: list[list[float]] = [[] for _ in seeds]
    checkpoints: list[list[Checkpoint]] = [[] for _ in seeds]
    for epoch in range(1, setting.recipe.epochs + 1):
        means = _train_stacked_epoch(stack, inputs, labels, rows, seeds=seeds, epoch=epoch)
        for i, loss in enumerate(means.tolist()):
            check_finite_loss(loss, epoch, setting)
            losses[i].append(loss)
            if epoch in kept_epochs:
                rate = setting.recipe.learning_rate
                checkpoints[i].append(Checkpoint(epoch, rate, stack.state(i)))
    return [Trained(stack.state(i), losses[i], checkpoints[i]) for i in range(len(seeds))]


def _train_stacked_epoch(
    stack: ModelStack,
    inputs: Tensor,
    labels: Tensor,
    rows: Tensor,
    *,
    seeds: Sequence[int],
    epoch: int,
) -> Tensor:
    n = rows.shape[1]
    orders = torch.stack([epoch_order(seed, epoch, n) for seed in seeds]).to(rows.device)
    batches = rows.gather(1, orders).split(stack.setting.recipe.batch_size, dim=1)
    per_seed = [dropout_keys(seed, epoch, len(batches), stack.model) for seed in seeds]
    keys = {
        name: torch.stack([words[name] for words in per_seed], dim=1).to(rows.device)
        for name in per_seed[0]
    }
    total = inputs.new_zeros(len(seeds))
    for step, batch in enumerate(batches):
        size = batch.shape[1]
        weights = inputs.new_full((size,), 1.0 / size)
        step_keys = {name: words[step] for name, words in keys.items()}
        total += stack.step(inputs[batch], labels[batch], weights, step_keys, shared=False)
    return total / len(batches)


def _stacked_rows(subsets: NDArray[np.bool_] | Tensor | None, n_models: int, n: int) -> Tensor:
    if n_models < 1:
        raise ValueError("seeds must name at least one model, got none: pass one seed per model")
    if subsets is None:
        return torch.arange(n).expand(n_models, n)
    if len(subsets) != n_models:
        raise ValueError(
            f"subsets must have one row per seed, got {len(subsets)} rows and {n_models} seeds: "
            "pass as many of each"
        )
    rows = [subset_rows(mask, n) for mask in subsets]
    sizes = sorted({len(r) for r in rows})
    if len(sizes) > 1:
        raise ValueError(
            f"stacked subsets must have equal sizes, got {sizes[0]} to {sizes[-1]}: "
            "stack those of equal size together"
        )
    return torch.stack(rows)
