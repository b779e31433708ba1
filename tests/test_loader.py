"""A loader is read once, and known again when it comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from headwater.loader import LoadedData

ROWS = torch.arange(14.0).view(7, 2)


class Counting:
    """A loader that counts how often it was opened, and the batches that were read."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches, self.opened, self.read = batches, 0, 0

    def __iter__(self) -> Iterator[Tensor]:
        self.opened += 1
        for batch in self.batches:
            self.read += 1
            yield batch


def _joined(data: LoadedData) -> Tensor:
    return torch.cat(list(data))


def test_a_loader_is_read_once_and_no_further_than_asked() -> None:
    loader = Counting(list(ROWS.split(3)))
    data = LoadedData(loader, "loader", 10**6)
    assert torch.equal(data.first, ROWS[:3])
    assert torch.equal(next(iter(data)), ROWS[:3])
    assert (loader.opened, loader.read) == (1, 1)
    for _ in range(3):
        assert torch.equal(_joined(data), ROWS)
    assert data.n == 7
    assert (loader.opened, loader.read) == (1, 3)


def test_what_does_not_fit_is_read_again() -> None:
    loader = Counting(list(ROWS.split(3)))
    data = LoadedData(loader, "loader", budget=ROWS.nbytes - 1)
    assert data.n == 7
    assert torch.equal(_joined(data), ROWS)
    assert loader.opened == 2
    assert torch.equal(next(iter(data)), ROWS[:3])
    assert loader.opened == 2, "the first batch is kept"


def test_a_loader_that_yields_something_else_the_second_time_is_refused() -> None:
    loader = Counting(list(ROWS.split(3)))
    data = LoadedData(loader, "loader", budget=0)
    data.finish()
    loader.batches[1] = loader.batches[1] + 1
    with pytest.raises(ValueError, match="in the same order, got others when it was read again"):
        list(data)


def test_a_pass_that_was_broken_off_changes_nothing() -> None:
    data = LoadedData(Counting(list(ROWS.split(2))), "loader", 10**6)
    for _, _ in zip(range(2), data, strict=False):
        pass
    assert torch.equal(_joined(data), ROWS)
    assert data.n == 7


def test_batches_without_samples_are_left_out() -> None:
    batches = [ROWS[:0], ROWS[:4], ROWS[:0], ROWS[4:], ROWS[:0]]
    for budget in (0, 10**6):
        data = LoadedData(batches, "loader", budget)
        assert [[len(batch) for batch in data] for _ in range(2)] == [[4, 3]] * 2
        data.return_to(batches, "ends")
    with pytest.raises(ValueError, match="loader must yield batches, got none"):
        LoadedData([ROWS[:0]], "loader", 10).finish()


def test_a_loader_that_overwrites_its_batches_is_refused() -> None:
    class Buffered:
        def __iter__(self) -> Iterator[Tensor]:
            buffer = torch.empty(2, 2)
            for batch in ROWS[:6].split(2):
                yield buffer.copy_(batch)

    with pytest.raises(ValueError, match=r"memory of their own, .* overwritten; yield copies"):
        LoadedData(Buffered(), "loader", 10**6).finish()
    looked_at = LoadedData(Buffered(), "loader", 10**6)
    looked_at.head(4)
    with pytest.raises(ValueError, match="memory of their own"):
        looked_at.finish()


def test_a_look_at_the_first_batches_reads_no_further_and_nothing_twice() -> None:
    loader = Counting(ROWS[:6].split(2))
    data = LoadedData(loader, "loader", 10**6)
    assert torch.equal(torch.cat(data.head(3)), ROWS[:4])
    assert torch.equal(torch.cat(list(data)), ROWS[:6])
    assert loader.opened == 1


# The same samples again ------------------------------------------------------------------------


class Streamed(IterableDataset):
    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.rows)


class Fetched(Dataset):
    """A data set that fetches many samples at a time."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.read = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Tensor:
        self.read += 1
        return self.rows[place]

    def __getitems__(self, places: list[int]) -> list[Tensor]:
        return [self[place] for place in places]


def _whole_batches(rows: Tensor) -> DataLoader:
    return DataLoader([rows[:3], rows[3:]], batch_size=None)  # type: ignore[arg-type]


LOADERS = {
    "list": lambda rows: list(rows.split(3)),
    "tuple": lambda rows: tuple(rows.split(2)),
    "any iterable": lambda rows: Counting(list(rows.split(3))),
    "tensor data set": lambda rows: DataLoader(TensorDataset(rows), batch_size=3),
    "fetched": lambda rows: DataLoader(Fetched(rows), batch_size=3),
    "whole batches": _whole_batches,
    "streamed": lambda rows: DataLoader(Streamed(rows), batch_size=3),
}
KNOWS_THE_END = {"list", "tuple", "tensor data set", "fetched"}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("check", ["ends", "all"])
def test_the_same_samples_are_known_again(kind: str, check: str) -> None:
    data = LoadedData(LOADERS[kind](ROWS), "loader", 10**6)
    data.return_to(LOADERS[kind](ROWS.clone()), check)
    plain = LoadedData([ROWS], "loader", 10**6)
    if kind != "tensor data set":  # its batches are lists of tensors
        plain.return_to(LOADERS[kind](ROWS), check)


CHANGED = {
    "first": lambda rows: torch.cat([rows[:1] + 1, rows[1:]]),
    "last": lambda rows: torch.cat([rows[:-1], rows[-1:] + 1]),
    "fewer": lambda rows: torch.cat([rows[:5], rows[6:]]),
    "between": lambda rows: torch.cat([rows[:3], rows[3:4] + 1, rows[4:]]),
}
UNSEEN_AT_THE_ENDS = {"between"}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("change", CHANGED)
def test_other_samples_are_refused(kind: str, change: str) -> None:
    data = LoadedData(LOADERS[kind](ROWS), "loader", 10**6)
    changed = LOADERS[kind](CHANGED[change](ROWS))
    with pytest.raises(ValueError, match=r"must yield what cache has seen, .*call cache again"):
        data.return_to(changed, "all")
    seen = change == "first" or (change not in UNSEEN_AT_THE_ENDS and kind in KNOWS_THE_END)
    if kind == "whole batches" and change == "last":
        seen = True
    if seen:
        with pytest.raises(ValueError, match="must yield what cache has seen"):
            data.return_to(changed, "ends")
    else:
        data.return_to(changed, "ends")


def test_the_ends_of_a_data_set_are_fetched_and_no_more() -> None:
    data = LoadedData(DataLoader(Fetched(ROWS), batch_size=3), "loader", 10**6)
    data.finish()
    again = Fetched(ROWS)
    random = torch.get_rng_state()
    data.return_to(DataLoader(again, batch_size=2), "ends")
    assert again.read == 3, "two of the first batch, one of the last"
    assert torch.equal(torch.get_rng_state(), random)


def test_any_other_loader_is_read_for_its_first_batch_alone() -> None:
    data = LoadedData(Counting(list(ROWS.split(3))), "loader", 10**6)
    data.finish()
    again = Counting(list(ROWS.split(2)))
    data.return_to(again, "ends")
    assert (again.opened, again.read) == (1, 1)


def test_the_loader_that_came_back_is_the_one_that_is_read_again() -> None:
    data = LoadedData(Counting(list(ROWS.split(3))), "loader", budget=0)
    data.finish()
    again = Counting(list(ROWS.split(2)))
    for _ in range(2):
        data.return_to(again, "ends")
    assert torch.equal(_joined(data), ROWS)
    assert again.opened == 3


def test_an_unknown_check_is_refused() -> None:
    data = LoadedData([ROWS], "loader", 10**6)
    with pytest.raises(ValueError, match="check must be one of ends, all, got 'some'"):
        data.return_to([ROWS], "some")  # type: ignore[arg-type]
