"""Batches of any structure keep it; loaders that cannot be read twice are refused."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
import torch
from accelerate import Accelerator
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
    map_tensors,
    sample_tensors,
    select,
    structure,
    tensors_of,
    to_device,
    with_sample_tensors,
)


@dataclass(frozen=True)
class Record:
    x: Tensor
    tag: str
    y: Tensor
    length: int = field(init=False, default=3)


class Frozen(Mapping):
    """A mapping that nothing can be assigned to."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Tagged(UserDict):
    """A mapping with more than its items, made of other arguments."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag


def tagged() -> Tagged:
    batch = Tagged("train")
    batch["x"], batch["y"] = X, Y
    return batch


Pair = namedtuple("Pair", ["x", "y"])
X, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([1, 0, 2])
BATCHES = {
    "tensor": X,
    "tuple": (X, Y),
    "list": [X, Y],
    "dict": {"x": X, "y": Y, "name": "train", "mask": None},
    "ordered dict": OrderedDict(x=X, y=Y),
    "default dict": defaultdict(list, x=X, y=Y),
    "user dict": UserDict(x=X, y=Y),
    "tagged": tagged(),
    "frozen": Frozen({"x": X, "y": Y}),
    "proxy": MappingProxyType({"x": X, "y": Y}),
    "sizes": (X, torch.Size([3, 4]), Y),
    "named tuple": Pair(X, Y),
    "dataclass": Record(X, "a", Y),
    "nested": {"inputs": [X, UserDict(x=(X, Y))], "y": Y},
    "scalar": {"x": X, "weight": torch.tensor(2.0), "y": Y},
}
BEFORE = {kind: [t.clone() for t in tensors_of(batch)] for kind, batch in BATCHES.items()}


@pytest.mark.parametrize("kind", BATCHES)
def test_the_structure_is_kept(kind: str) -> None:
    batch = BATCHES[kind]
    doubled = map_tensors(batch, lambda t: 2 * t)
    assert type(doubled) is type(batch)
    pairs = zip(tensors_of(doubled), tensors_of(batch), strict=True)
    assert all(torch.equal(a, 2 * b) for a, b in pairs)
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(batch), BEFORE[kind], strict=True))
    assert batch_size(batch) == 3
    replacement = iter(tensors_of(doubled))
    again = map_tensors(batch, lambda _: next(replacement))
    assert all(
        torch.equal(a, b) for a, b in zip(tensors_of(again), tensors_of(doubled), strict=True)
    )
    moved = to_device(batch, torch.device("cpu"))
    assert len(tensors_of(moved)) == len(tensors_of(batch))


def test_other_leaves_are_passed_through() -> None:
    found = map_tensors(BATCHES["dict"], lambda t: t + 1)
    assert (found["name"], found["mask"]) == ("train", None)
    assert map_tensors(Record(X, "a", Y), lambda t: t + 1).tag == "a"
    assert map_tensors(tagged(), lambda t: t + 1).tag == "train"
    assert map_tensors(BATCHES["default dict"], lambda t: t + 1)["z"] == []


def test_a_tokenizer_s_batch_is_one() -> None:
    transformers = pytest.importorskip("transformers")
    batch = transformers.BatchEncoding({"input_ids": X, "labels": Y})
    assert batch_size(batch) == 3
    part = select(batch, slice(1, 3))
    assert type(part) is transformers.BatchEncoding
    assert torch.equal(part["input_ids"], X[1:])
    assert torch.equal(part.labels, Y[1:])
    assert torch.equal(batch["input_ids"], X)


def test_a_mapping_that_cannot_be_made_again_is_refused() -> None:
    class Named(Frozen):
        def __init__(self, name: str, items: Mapping[str, Any]) -> None:
            super().__init__(items)

    with pytest.raises(ValueError, match=r"a mapping must be .* got Named; make the loader yield"):
        map_tensors(Named("train", {"x": X}), lambda t: t)


@pytest.mark.parametrize("batch", [(X, Y[:2]), torch.tensor(1.0), {"name": "train"}, ()], ids=str)
def test_tensors_that_disagree_on_the_samples_are_refused(batch) -> None:
    with pytest.raises(ValueError, match="share their first dimension"):
        batch_size(batch)


# Samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows", [slice(1, 3), slice(0, 1), torch.tensor([2, 0]), slice(0, 0)], ids=str
)
@pytest.mark.parametrize("kind", BATCHES)
def test_samples_are_selected(kind: str, rows: slice | Tensor) -> None:
    batch = BATCHES[kind]
    part = select(batch, rows)
    assert type(part) is type(batch)
    assert batch_size(part) == len(X[rows])
    for some, whole in zip(tensors_of(part), tensors_of(batch), strict=True):
        assert torch.equal(some, whole[rows] if whole.ndim else whole)


def test_a_tensor_without_dimensions_belongs_to_no_sample() -> None:
    batch = BATCHES["scalar"]
    assert [t.shape for t in sample_tensors(batch)] == [X.shape, Y.shape]
    assert [t.ndim for t in tensors_of(batch)] == [2, 0, 1]
    again = with_sample_tensors(batch, [2 * X, 2 * Y])
    assert again["weight"] is batch["weight"]
    assert torch.equal(again["x"], 2 * X) and torch.equal(again["y"], 2 * Y)
    moved = to_device(batch, torch.device("meta"))
    assert {t.device.type for t in tensors_of(moved)} == {"meta"}


class Array:
    """Answers a comparison with an array, or not at all."""

    def __init__(self, *values: int, fails: bool = False) -> None:
        self.values, self.fails = values, fails

    def __eq__(self, other: object) -> Any:
        if self.fails:
            raise TypeError("no")
        return self

    __hash__ = None


ALIKE = {
    "samples": (lambda: (X, Y), lambda: (X[:1] + 1, Y[:1])),
    "leaves": (lambda: {"x": X, "n": ["a", 1.0]}, lambda: {"x": 2 * X, "n": ["a", 1.0]}),
    "scalars": (lambda: (X, torch.tensor(2)), lambda: (X, torch.tensor(2))),
    "records": (lambda: Record(X, "a", Y), lambda: Record(2 * X, "a", Y)),
    "mappings": (lambda: UserDict(x=X), lambda: UserDict(x=X[:2])),
    "not a number": (lambda: (X, torch.tensor(torch.nan)), lambda: (X, torch.tensor(torch.nan))),
}
OTHER = {
    "lengths": (lambda: torch.zeros(3, 4), lambda: torch.zeros(3, 5)),
    "types": (lambda: X, lambda: 2.0 * X.double()),
    "kinds": (lambda: (X, Y), lambda: [X, Y]),
    "counts": (lambda: (X, Y), lambda: (X, Y, Y)),
    "keys": (lambda: {"x": X}, lambda: {"y": X}),
    "order": (lambda: {"x": X, "y": X}, lambda: {"y": X, "x": X}),
    "leaves": (lambda: (X, "a"), lambda: (X, "b")),
    "numbers": (lambda: (X, 1), lambda: (X, 1.0)),
    "scalars": (lambda: (X, torch.tensor(2)), lambda: (X, torch.tensor(3))),
    "records": (lambda: Record(X, "a", Y), lambda: Record(X, "b", Y)),
    "arrays": (lambda: (X, Array(1, 2)), lambda: (X, Array(1, 2))),
    "incomparable": (lambda: (X, Array(fails=True)), lambda: (X, Array(fails=True))),
    "devices": (lambda: X, lambda: X.to("meta")),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_batches_of_the_same_structure(kind: str) -> None:
    first, second = (make() for make in ALIKE[kind])
    assert structure(first) == structure(second)
    assert len({structure(first), structure(second)}) == 1


@pytest.mark.parametrize("kind", OTHER)
def test_batches_of_other_structure(kind: str) -> None:
    first, second = (make() for make in OTHER[kind])
    assert structure(first) != structure(second)
    assert structure(first) == structure(first)  # also what cannot be compared


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
    "of a Trainer": lambda: Accelerator(cpu=True).prepare(DataLoader(DATA, shuffle=True)),
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
