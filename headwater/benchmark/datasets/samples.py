"""The samples of a data set, as all settings have them."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Draw", "Samples", "first_samples", "random_images", "random_sequences"]

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""Makes so many random inputs and labels."""


class Samples(NamedTuple):
    """Tensors of one data set: inputs (n, ...) and int64 labels of both splits.

    Labels are (n,), one class per sample; or (n, T), one per place of a sequence.
    """

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def first_samples(
    parts: Iterable[tuple[Tensor, Tensor]], n: int | None, name: str
) -> tuple[Tensor, Tensor]:
    """Return the first n samples of a split, and read no more parts of it than that needs.

    Args:
        parts: inputs and labels, in order.
        n: how many; None for all.
        name: what errors call n.

    Raises:
        ValueError: If n is not positive, or there are fewer samples.

    Example:
        >>> parts = [(torch.arange(3), torch.zeros(3)), (torch.arange(3, 6), torch.ones(3))]
        >>> first_samples(parts, 4, "n_train")
        (tensor([0, 1, 2, 3]), tensor([0., 0., 0., 1.]))
    """
    if n is not None and n < 1:
        raise ValueError(f"{name} must be at least 1, got {n}: use None for all samples")
    kept, count = [], 0
    for inputs, labels in parts:
        kept.append((inputs, labels))
        count += len(labels)
        if n is not None and count >= n:
            break
    if count < (n or 1):
        raise ValueError(
            f"{name} must be at most {count}, the samples at hand, got {n}: ask for fewer"
        )
    return torch.cat([part[0] for part in kept])[:n], torch.cat([part[1] for part in kept])[:n]


def random_images(n: int, shape: tuple[int, ...], n_classes: int) -> tuple[Tensor, Tensor]:
    """Return inputs of a shape and one label each, always the same ones.

    Example:
        >>> inputs, labels = random_images(2, (3, 8, 8), n_classes=4)
        >>> tuple(inputs.shape), tuple(labels.shape)
        ((2, 3, 8, 8), (2,))
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, *shape, generator=generator)
    return inputs, torch.randint(n_classes, (n,), generator=generator)


def random_sequences(n: int, length: int, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Return sequences of tokens, and a label for each place, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(n_tokens, (n, length + 1), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]
