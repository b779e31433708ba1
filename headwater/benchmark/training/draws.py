"""What a training run draws from its seed: initial weights, sample order, dropout, augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.seeds import derive_seed

__all__ = ["Draw", "dropout_keys", "epoch_draws", "epoch_order", "initial_model"]


@dataclass(frozen=True)
class Draw:
    """One step of a run, as its seed says.

    Args:
        places: of its samples, among those that are trained on, int64 (b,).
        keys: of the dropout layers: the name of the buffer -> int32 ().
        factor: of the learning rate.
        seed: of the augmentation.
    """

    places: Tensor
    keys: dict[str, Tensor]
    factor: float
    seed: int

    def augmented(self, recipe: Recipe, inputs: Tensor) -> Tensor:
        """Return the inputs of the step, changed as the recipe has it."""
        if recipe.augment is None:
            return inputs
        return recipe.augment(inputs, Generator().manual_seed(self.seed))


def initial_model(setting: Setting, seed: int, like: Tensor) -> nn.Module:
    """Build the model with the initial weights of a seed; the global random state is restored.

    Args:
        setting: the setting.
        seed: of the training run.
        like: a tensor whose device the model takes, and whose dtype unless it is one of integers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        model = setting.make_model()
    dtype = like.dtype if like.is_floating_point() else None
    return model.to(device=like.device, dtype=dtype)


def epoch_draws(recipe: Recipe, seed: int, epoch: int, n: int, model: nn.Module) -> Iterator[Draw]:
    """Yield the steps of an epoch over n samples, in order."""
    batches = epoch_order(seed, epoch, n).split(recipe.batch_size)
    keys = dropout_keys(seed, epoch, len(batches), model)
    for i, places in enumerate(batches):
        step = (epoch - 1) * len(batches) + i
        yield Draw(
            places,
            {name: words[i] for name, words in keys.items()},
            recipe.schedule(step, recipe.epochs * len(batches)),
            derive_seed(seed, "augment", step),
        )


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """Return the permutation int64 (n,) in which an epoch visits the samples."""
    generator = Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def dropout_keys(seed: int, epoch: int, n_steps: int, model: nn.Module) -> dict[str, Tensor]:
    """Return the key of every dropout layer at every step of an epoch.

    Returns:
        The name of the buffer of the layer's key -> int32 (n_steps,).
    """
    return {
        f"{name}.key": _words(derive_seed(seed, "dropout", name, epoch), n_steps)
        for name, module in model.named_modules()
        if isinstance(module, StatelessDropout)
    }


def _words(seed: int, count: int) -> Tensor:
    generator = Generator().manual_seed(seed)
    return torch.randint(-(1 << 31), 1 << 31, (count,), generator=generator).to(torch.int32)
