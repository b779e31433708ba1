"""The labels of a batch of classified samples."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size

__all__ = ["labels_of"]


def labels_of(batch: Batch) -> Tensor:
    """Return the class y_i of each sample of a batch (inputs..., labels).

    Args:
        batch: a tuple or list whose last entry are the labels.

    Returns:
        int64 (n,).

    Raises:
        ValueError: if the last entry is not one int64 label a sample.

    Example:
        >>> labels_of((torch.ones(2, 3), torch.tensor([4, 0]))).tolist()
        [4, 0]
    """
    last = batch[-1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
    if not isinstance(last, Tensor) or last.dtype != torch.int64 or last.ndim != 1:
        got = type(batch).__name__ if last is None else "one that ends in a " + _kind(last)
        raise ValueError(
            f"batches must be (inputs, labels) with one int64 label a sample, got {got}; "
            "make the loader yield the labels last"
        )
    batch_size(batch)
    return last


def _kind(last: object) -> str:
    if not isinstance(last, Tensor):
        return type(last).__name__
    return f"{last.dtype} tensor of shape {tuple(last.shape)}"
