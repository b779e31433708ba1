"""What a training run draws from its seed: initial weights, sample order and dropout keys."""

import torch
from torch import Tensor, nn

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.retraining.seeds import derive_seed
from headwater.benchmark.settings.setting import Setting

__all__ = ["checkpoint_epochs", "dropout_keys", "epoch_order", "initial_model"]


def initial_model(setting: Setting, seed: int, like: Tensor) -> nn.Module:
    """Build the model with the initial weights of a seed; the global random state is restored.

    Args:
        setting: The setting.
        seed: Seed of the training run.
        like: Tensor whose device the model takes, and whose dtype unless it is one of integers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        model = setting.make_model()
    dtype = like.dtype if like.is_floating_point() else None
    return model.to(device=like.device, dtype=dtype)


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """Return the permutation int64 (n,) in which an epoch visits the samples."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def dropout_keys(seed: int, epoch: int, n_steps: int, model: nn.Module) -> dict[str, Tensor]:
    """Return the key of every dropout layer at every step of an epoch.

    Returns:
        Buffer name of the layer's key -> int32 (n_steps,).
    """
    return {
        f"{name}.key": _words(derive_seed(seed, "dropout", name, epoch), n_steps)
        for name, module in model.named_modules()
        if isinstance(module, StatelessDropout)
    }


def checkpoint_epochs(epochs: int, count: int) -> list[int]:
    """Return `count` evenly spaced epochs (counted from 1), the last one included.

    Raises:
        ValueError: If there are fewer epochs than checkpoints.

    >>> checkpoint_epochs(50, 5)
    [10, 20, 30, 40, 50]
    """
    if not 0 <= count <= epochs:
        raise ValueError(
            f"checkpoint_count must be between 0 and the {epochs} epochs, got {count}: "
            "ask for fewer"
        )
    return [round(epochs * (i + 1) / count) for i in range(count)]


def _words(seed: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(1 << 31), 1 << 31, (count,), generator=generator).to(torch.int32)
