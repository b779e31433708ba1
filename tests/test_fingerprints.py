"""Fingerprints tell data apart, and that of a data set does not know how it is batched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater.batches import DataFingerprint, batch_size, fingerprint, map_tensors, select

X, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([1, 0, 2])


# Batches ---------------------------------------------------------------------------------------


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


# Data sets -------------------------------------------------------------------------------------


def data_print(batches: list[Any]) -> DataFingerprint:
    found = DataFingerprint()
    for batch in batches:
        found.update(batch)
    return found


def cut(batch: Any, bounds: list[int]) -> list[Any]:
    """The batch in parts, some of which may be empty."""
    ends = [*sorted(bounds), batch_size(batch)]
    return [select(batch, slice(a, b)) for a, b in zip([0, *ends], ends, strict=False)]


DTYPES = [torch.bool, torch.int64, torch.bfloat16, torch.float16, torch.float32, torch.complex64]


@given(
    dtype=st.sampled_from(DTYPES),
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=1, max_size=3),
    n=st.integers(1, 8),
    data=st.data(),
)
def test_how_data_is_batched_does_not_change_its_fingerprint(
    dtype: torch.dtype, shapes: list[list[int]], n: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(n)
    batch = {
        str(i): torch.randint(0, 9, (n, *shape), generator=generator).to(dtype)
        for i, shape in enumerate(shapes)
    } | {"scale": torch.tensor(3.0)}
    bounds = st.lists(st.integers(0, n), max_size=5)
    one, two = (data_print(cut(batch, data.draw(bounds))) for _ in range(2))
    assert one.hexdigest() == two.hexdigest()
    assert (one.count, one.first, one.last) == (two.count, two.first, two.last)
    assert one.count == n
    assert one.first == fingerprint(select(batch, slice(0, 1)))
    assert one.last == fingerprint(select(batch, slice(n - 1, n)))


@given(
    bounds=st.lists(st.integers(0, 4), max_size=3), others=st.lists(st.integers(0, 4), max_size=3)
)
def test_padded_lengths_may_change_between_batches(bounds: list[int], others: list[int]) -> None:
    short, long = (torch.ones(4, 2), torch.arange(4)), (torch.ones(4, 3), torch.arange(4))
    one = data_print(cut(short, bounds) + cut(long, others) + cut(short, bounds))
    two = data_print([short, long, short])
    assert one.hexdigest() == two.hexdigest()
    assert one.hexdigest() != data_print([short, short, long]).hexdigest()


CHANGES = {
    "order": (X.flip(0), Y.flip(0)),
    "labels": (X, Y.flip(0)),
    "values": (X + 1e-6, Y),
    "fewer": (X[:2], Y[:2]),
    "more": (torch.cat([X, X]), torch.cat([Y, Y])),
    "type": (X, Y.float()),
    "size of a type": (X, Y.int()),
    "same bits": (X.view(torch.int32), Y),
    "shape": (X[:, None], Y),
    "positions": (Y, X),
    "one more": (X, Y, Y),
    "one less": X,
    "scalar": (X, Y, torch.tensor(1.0)),
}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("kind", CHANGES)
def test_changed_data_has_another_fingerprint(kind: str, size: int) -> None:
    other = CHANGES[kind]
    bounds = list(range(size, batch_size(other), size))
    assert data_print(cut(other, bounds)).hexdigest() != data_print([(X, Y)]).hexdigest()


def test_data_that_moves_between_samples_or_scalars_has_another_fingerprint() -> None:
    zeros = torch.zeros(6)
    prints = [
        data_print(batches).hexdigest()
        for batches in (
            [zeros.reshape(3, 2)],
            [zeros.reshape(2, 3)],
            [zeros.reshape(1, 6)],
            [zeros[:4].reshape(2, 2), zeros[4:].reshape(2, 1)],
            [zeros[:2].reshape(2, 1), zeros[2:].reshape(2, 2)],
            [(zeros[:2], zeros[:2]), zeros[:1]],
            [zeros[:1], (zeros[:2], zeros[:2])],
            [(zeros, torch.tensor(1.0))],
            [(zeros, torch.tensor(2.0))],
            [(zeros[:2], torch.tensor(1.0)), (zeros[2:], torch.tensor(2.0))],
            [(zeros[:3], torch.tensor(1.0)), (zeros[3:], torch.tensor(2.0))],
            [],
        )
    ]
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_can_be_read_on_the_way() -> None:
    found = DataFingerprint()
    assert (found.count, found.first, found.last) == (0, None, None)
    found.update((X[:2], Y[:2]))
    assert found.hexdigest() == data_print([(X[:1], Y[:1]), (X[1:2], Y[1:2])]).hexdigest()
    found.update((X[2:], Y[2:]))
    assert found.hexdigest() == data_print([(X, Y)]).hexdigest()
    assert found.first == fingerprint((X[:1], Y[:1])) != found.last
    with pytest.raises(ValueError, match="share their first dimension"):
        found.update((X, Y[:2]))


@pytest.mark.parametrize("rows", [3, 1])
def test_strides_and_gradients_change_no_fingerprint(rows: int) -> None:
    x, y = X.T.contiguous().T[:rows].requires_grad_(), torch.stack([Y, Y], 1)[:rows, 0]
    for views, plain in (((x, y), (X[:rows], Y[:rows])), (x[:, :1], X[:rows, :1].clone())):
        assert fingerprint(views) == fingerprint(plain)
        assert data_print([views]).hexdigest() == data_print([plain]).hexdigest()
