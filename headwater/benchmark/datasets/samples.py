"""The samples of a data set, as all settings have them."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Samples", "first_samples"]


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
