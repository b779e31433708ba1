"""Batches: what a loader yields, and the guards at its door.

A batch is a tensor, or a tuple, list, dict or dataclass of tensors whose first dimension is the
sample. Leaves that are no tensors (a task name, None) are passed through untouched.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "batch_size",
    "check_ordered",
    "fingerprint",
    "map_tensors",
    "tensors_of",
    "to_device",
    "with_tensors",
]

Batch = Any
_SHUFFLING = ("RandomSampler", "WeightedRandomSampler", "SubsetRandomSampler")


def map_tensors(batch: Batch, function: Callable[[Tensor], Any]) -> Batch:
    """Apply a function to every tensor of a batch and keep its structure."""
    if isinstance(batch, Tensor):
        return function(batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.init}
        return dataclasses.replace(
            batch, **{name: map_tensors(value, function) for name, value in fields.items()}
        )
    if isinstance(batch, dict):
        return type(batch)((key, map_tensors(value, function)) for key, value in batch.items())
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(value, function) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(map_tensors(value, function) for value in batch)
    return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch in the order in which `map_tensors` visits them."""
    found: list[Tensor] = []
    map_tensors(batch, found.append)
    return found


def with_tensors(batch: Batch, tensors: Iterable[Tensor]) -> Batch:
    """Return the batch with its tensors replaced, in the order of `tensors_of`."""
    replacement = iter(tensors)
    return map_tensors(batch, lambda _: next(replacement))


def batch_size(batch: Batch) -> int:
    """Return the number of samples of a batch.

    Raises:
        ValueError: if the batch holds no tensor, or its tensors disagree on the first dimension.
    """
    sizes = {tuple(t.shape)[:1] for t in tensors_of(batch)}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            "a batch must be tensors (or a tuple, list, dict or dataclass of them) that share "
            f"their first dimension, got {type(batch).__name__} with first dimensions "
            f"{sorted(sizes)}; make the sample the first dimension of every tensor"
        )
    return int(sizes.pop()[0])


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor of a batch to a device."""
    return map_tensors(batch, lambda t: t.to(device))


def check_ordered(loader: Iterable[Batch], name: str) -> None:
    """Refuse what cannot be read twice in the same order.

    Raises:
        ValueError: if the loader shuffles, or can be read only once.
    """
    samplers = [getattr(loader, "sampler", None)]
    samplers.append(getattr(getattr(loader, "batch_sampler", None), "sampler", None))
    for sampler in samplers:
        if type(sampler).__name__ in _SHUFFLING:
            raise ValueError(
                f"{name} must yield its samples in a fixed order, got a loader with a "
                f"{type(sampler).__name__}; pass shuffle=False, so that row i of the scores is sample i"
            )
    if iter(loader) is loader:
        raise ValueError(
            f"{name} must be readable more than once, got the iterator {type(loader).__name__}; "
            "pass a DataLoader or a list of batches"
        )


def fingerprint(batch: Batch) -> str:
    """Return a digest of the values of a batch, their order, types and shapes.

    It is made of the bits: a batch with NaN equals itself.
    """
    digest = hashlib.sha256()
    for t in tensors_of(batch):
        flat = t.detach().reshape(-1).cpu()
        digest.update(f"{t.dtype} {tuple(t.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
