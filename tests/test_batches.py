"""Batches of any structure keep it; loaders that cannot be read twice are refused."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from headwater.batches import (
    batch_size,
    check_ordered,
    fingerprint,
    map_tensors,
    tensors_of,
    to_device,
    with_tensors,
)


@dataclass(frozen=True)
class Record:
    x: Tensor
    tag: str
    y: Tensor
    length: int = field(init=False, default=3)


Pair = namedtuple("Pair", ["x", "y"])
X, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([1, 0, 2])
BATCHES = {
    "tensor": X,
    "tuple": (X, Y),
    "list": [X, Y],
    "dict": {"x": X, "y": Y, "name": "train", "mask": None},
    "ordered dict": OrderedDict(x=X, y=Y),
    "named tuple": Pair(X, Y),
    "dataclass": Record(X, "a", Y),
    "nested": {"inputs": [X, (X, Y)], "y": Y},
}


@pytest.mark.parametrize("kind", BATCHES)
def test_the_structure_is_kept(kind: str) -> None:
    batch = BATCHES[kind]
    doubled = map_tensors(batch, lambda t: 2 * t)
    assert type(doubled) is type(batch)
    pairs = zip(tensors_of(doubled), tensors_of(batch), strict=True)
    assert all(torch.equal(a, 2 * b) for a, b in pairs)
    assert batch_size(batch) == 3
    again = with_tensors(batch, tensors_of(doubled))
    assert all(
        torch.equal(a, b) for a, b in zip(tensors_of(again), tensors_of(doubled), strict=True)
    )
    moved = to_device(batch, torch.device("cpu"))
    assert len(tensors_of(moved)) == len(tensors_of(batch))


def test_other_leaves_are_passed_through() -> None:
    found = map_tensors(BATCHES["dict"], lambda t: t + 1)
    assert (found["name"], found["mask"]) == ("train", None)
    assert map_tensors(Record(X, "a", Y), lambda t: t + 1).tag == "a"


@pytest.mark.parametrize(
    "batch", [(X, Y[:2]), (X, torch.tensor(1.0)), {"name": "train"}, ()], ids=str
)
def test_tensors_that_disagree_on_the_samples_are_refused(batch) -> None:
    with pytest.raises(ValueError, match="share their first dimension"):
        batch_size(batch)


# Loaders ---------------------------------------------------------------------------------------

DATA = TensorDataset(X, Y)
ORDERED = {
    "loader": lambda: DataLoader(DATA, batch_size=2),
    "sampler": lambda: DataLoader(DATA, sampler=SequentialSampler(DATA)),
    "batch sampler": lambda: DataLoader(
        DATA, batch_sampler=BatchSampler(SequentialSampler(DATA), 2, drop_last=False)
    ),
    "subset": lambda: DataLoader(Subset(DATA, [2, 0]), batch_size=2),
    "list": lambda: [(X, Y)],
    "tuple": lambda: ((X, Y),),
}
SHUFFLED = {
    "shuffle=True": lambda: DataLoader(DATA, shuffle=True),
    "random sampler": lambda: DataLoader(DATA, sampler=RandomSampler(DATA)),
    "subset sampler": lambda: DataLoader(DATA, sampler=SubsetRandomSampler([0, 1])),
    "weighted sampler": lambda: DataLoader(DATA, sampler=WeightedRandomSampler([1.0] * 3, 3)),
    "batch sampler": lambda: DataLoader(
        DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 2, drop_last=False)
    ),
}


@pytest.mark.parametrize("kind", ORDERED)
def test_ordered_loaders_are_accepted(kind: str) -> None:
    check_ordered(ORDERED[kind](), "train_loader")


@pytest.mark.parametrize("kind", SHUFFLED)
def test_shuffling_loaders_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"test_loader must yield .* fixed order.*shuffle=False"):
        check_ordered(SHUFFLED[kind](), "test_loader")


@pytest.mark.parametrize(
    "make",
    [lambda: iter([(X, Y)]), lambda: (b for b in [(X, Y)]), lambda: zip([X], [Y], strict=False)],
)
def test_iterators_are_refused(make) -> None:
    with pytest.raises(ValueError, match="readable more than once, got the iterator"):
        check_ordered(make(), "train_loader")


# Fingerprints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [(X.flip(0), Y), (X, Y.flip(0)), (X + 1e-6, Y), (X[:2], Y[:2]), (X.flip(1), Y)],
    ids=["rows swapped", "labels swapped", "values", "fewer", "columns swapped"],
)
def test_fingerprints_tell_batches_apart(other) -> None:
    assert fingerprint((X, Y)) != fingerprint(other)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_fingerprints_of_every_dtype_are_equal_to_themselves(dtype) -> None:
    batch = ((X > 2).to(dtype), Y)
    assert fingerprint(batch) == fingerprint(map_tensors(batch, torch.clone))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_fingerprints_of_data_that_is_not_finite_are_equal_to_themselves(value: float) -> None:
    x = X.clone()
    x[1, 0] = value
    assert fingerprint((x, Y)) == fingerprint((x.clone(), Y))
    assert fingerprint((x, Y)) != fingerprint((x.flip(0), Y))


def test_fingerprints_know_types_and_shapes() -> None:
    zeros = torch.zeros(4)
    prints = {fingerprint(t) for t in (zeros, zeros[:, None], zeros.int(), zeros.bfloat16())}
    assert len(prints) == 4
