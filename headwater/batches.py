"""Batches: what a loader yields, and the guards at its door.

A batch is a tensor, or a tuple, list, mapping or dataclass of tensors whose first dimension is the
sample. Tensors without dimensions belong to the batch as a whole, and other leaves pass untouched.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

Batch = Any


def map_tensors(batch: Batch, function: Callable[[Tensor], Any]) -> Batch:
    """Apply a function to every tensor of a batch and keep its structure."""
    if isinstance(batch, Tensor):
        return function(batch)
    children = _children(batch)
    if children is None:
        return batch
    return _rebuilt(batch, {key: map_tensors(child, function) for key, child in children.items()})


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch in the order in which `map_tensors` visits them."""
    if isinstance(batch, Tensor):
        return [batch]
    return [t for child in (_children(batch) or {}).values() for t in tensors_of(child)]


def sample_tensors(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch that hold samples: those with a first dimension."""
    return [t for t in tensors_of(batch) if t.ndim]


def with_sample_tensors(batch: Batch, tensors: Iterable[Tensor]) -> Batch:
    """Return the batch with the tensors that hold samples replaced, as `sample_tensors` has them."""
    replacement = iter(tensors)
    return map_tensors(batch, lambda t: next(replacement) if t.ndim else t)


def select(batch: Batch, rows: slice | Tensor) -> Batch:
    """Return some samples of a batch, given as a slice or by their numbers on any device."""
    tensors = sample_tensors(batch)
    found = (t[rows if isinstance(rows, slice) else rows.to(t.device)] for t in tensors)
    return with_sample_tensors(batch, found)


def batch_size(batch: Batch) -> int:
    """Return the number of samples of a batch; ValueError if its tensors do not agree on one."""
    sizes = {len(t) for t in sample_tensors(batch)}
    if len(sizes) != 1:
        raise ValueError(
            "a batch must be tensors (or a tuple, list, mapping or dataclass of them) that share "
            f"their first dimension, got {type(batch).__name__} with first dimensions "
            f"{sorted(sizes)}; make the sample the first dimension of every tensor"
        )
    return sizes.pop()


def described(batch: Batch) -> str:
    """Return the types and shapes of a batch's tensors: ``tuple of float32 (8, 3), int64 (8,)``."""
    found = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors_of(batch)]
    return f"{type(batch).__name__} of {', '.join(found) or 'no tensors'}"


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor of a batch to a device."""
    return map_tensors(batch, lambda t: t.to(device))


def structure(batch: Batch) -> Any:
    """Return all of a batch but its samples, to compare and hash: such as are equal may become one.

    These are types, keys, other leaves, and each tensor's dtype, device and shape of one sample.
    """
    if isinstance(batch, Tensor):
        value = None if batch.ndim else _bytes(batch).tobytes()
        return Tensor, batch.dtype, batch.device, tuple(batch.shape[1:]), value
    children = _children(batch)
    if children is None:
        return _Leaf(batch)
    return type(batch), tuple((key, structure(child)) for key, child in children.items())


def check_ordered(loader: Iterable[Batch], name: str) -> None:
    """Raise ValueError if a loader shuffles, is a dataset of samples, or can be read only once."""
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        raise ValueError(
            f"{name} must yield batches, got {type(loader).__name__}, a dataset of single samples; pass "
            "DataLoader(dataset, batch_size=...)"
        )
    for owner in (loader, getattr(loader, "batch_sampler", None)):
        sampler = type(getattr(owner, "sampler", None)).__name__
        if "Random" in sampler:
            raise ValueError(
                f"{name} must yield its samples in a fixed order, got a loader with a {sampler}; pass "
                "shuffle=False, so that row i of the scores is sample i (of a Trainer: "
                "get_eval_dataloader(train_dataset))"
            )
    # A `DataLoader` is never asked for an iterator here: it would start its workers.
    if isinstance(loader, Iterator) and iter(loader) is loader:
        raise ValueError(
            f"{name} must be readable more than once, got the iterator {type(loader).__name__}; "
            "pass a DataLoader or a list of batches"
        )


def fingerprint(batch: Batch) -> str:
    """Return a digest of the bits of a batch, their order, types and shapes."""
    digest = hashlib.sha256()
    for t in tensors_of(batch):
        digest.update(f"{t.dtype} {tuple(t.shape)}".encode())
        digest.update(_bytes(t))
    return digest.hexdigest()


class DataFingerprint:
    """A digest of the samples of a data set and of their order, however they are batched.

    Where dtypes, shapes of one sample or tensors without dimensions change counts as well. Beside it:
    the `count` of samples, and the fingerprints of the `first` and the `last` one as a batch of one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: str | None = None
        self.last: str | None = None
        self._streams: list[_Stream] = []

    def update(self, batch: Batch) -> None:
        """Add the samples of one batch."""
        if (size := batch_size(batch)) == 0:
            return
        if self.first is None:
            self.first = fingerprint(select(batch, slice(0, 1)))
        self.last = fingerprint(select(batch, slice(size - 1, size)))
        tensors = tensors_of(batch)
        self._streams += [_Stream() for _ in tensors[len(self._streams) :]]
        for stream, t in zip(self._streams, tensors, strict=False):
            stream.update(t, self.count, self.count + size)
        self.count += size

    def hexdigest(self) -> str:
        """Return the digest of all samples so far."""
        parts = [str(self.count), *(stream.hexdigest() for stream in self._streams)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def joined(batches: Sequence[Batch]) -> Batch:
    """Return batches of one structure as one batch."""
    if len(batches) == 1:
        return batches[0]
    parts = zip(*(sample_tensors(batch) for batch in batches), strict=True)
    return with_sample_tensors(batches[0], [torch.cat(part) for part in parts])


class SampleTable:
    """Batches kept in memory, joined where they are alike, so that samples are found by number."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.parts = [joined(list(same)) for _, same in groupby(batches, structure)]
        ends = torch.tensor([batch_size(part) for part in self.parts]).cumsum(0)
        self.n, self._ends = int(ends[-1]) if len(ends) else 0, ends

    def select(self, samples: Tensor) -> list[Batch]:
        """Return ascending samples (b,) in as few batches as can be; IndexError for unknown ones."""
        if len(samples) and not 0 <= int(samples[0]) <= int(samples[-1]) < self.n:
            raise IndexError(f"samples must be in 0..{self.n - 1}, got {samples.tolist()}")
        homes = torch.bucketize(samples, self._ends, right=True)
        which, counts = homes.unique_consecutive(return_counts=True)
        chosen = []
        for part, rows in zip(which.tolist(), samples.split(counts.tolist()), strict=True):
            start = int(self._ends[part - 1]) if part else 0
            chosen.append(select(self.parts[part], rows - start))
        return [joined(chosen)] if len(set(map(structure, chosen))) == 1 else chosen


class _Stream:
    """The samples at one position of the batches; the layout says how to read the values."""

    def __init__(self) -> None:
        self.layout, self.values = hashlib.sha256(), hashlib.sha256()
        self.kind, self.end = "", 0

    def update(self, t: Tensor, start: int, end: int) -> None:
        value = _bytes(t)
        kind = f"{t.dtype} {tuple(t.shape[1:]) if t.ndim else value.tobytes().hex()}"
        if kind != self.kind or self.end != start:
            self.layout.update(f"..{self.end} {start}: {kind} ".encode())
        if t.ndim:
            self.values.update(value)
        self.kind, self.end = kind, end

    def hexdigest(self) -> str:
        return f"{self.layout.hexdigest()} {self.values.hexdigest()} {self.end}"


class _Leaf:
    """What is no tensor, comparable and hashable whatever it is."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Leaf) or type(self.value) is not type(other.value):
            return False
        if self.value is other.value:
            return True
        try:
            equal = self.value == other.value
        except Exception:  # a foreign type may raise anything,
            return False
        return isinstance(equal, (bool, np.bool_)) and bool(equal)  # or answer with an array

    def __hash__(self) -> int:
        return hash(type(self.value))


def _children(batch: Batch) -> dict[Any, Any] | None:
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.init}
    if isinstance(batch, Mapping):
        return dict(batch.items())
    if isinstance(batch, (tuple, list)):
        return dict(enumerate(batch))
    return None


def _rebuilt(batch: Batch, children: dict[Any, Any]) -> Batch:
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return dataclasses.replace(batch, **children)
    if isinstance(batch, (dict, UserDict)):
        # A copy keeps what is no item; it shares no items, unlike that of other mappings.
        rebuilt = copy.copy(batch)
        for key, child in children.items():
            rebuilt[key] = child
        return rebuilt
    if isinstance(batch, Mapping):
        try:
            return type(batch)(children)  # type: ignore[call-arg]
        except TypeError as error:
            raise ValueError(
                f"a mapping must be a dict, a UserDict or made of one, got {type(batch).__name__}; "
                "make the loader yield a dict"
            ) from error
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*children.values())
    return type(batch)(children.values())


def _bytes(t: Tensor) -> Any:
    rows = t.detach().cpu().contiguous()  # whatever stride it says a single number has
    return rows.as_strided((rows.numel(),), (1,)).view(torch.uint8).numpy()
