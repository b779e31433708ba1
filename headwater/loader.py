"""A loader that is read once: kept in memory where it fits, and known again where it comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import length_hint
from typing import Any, Literal, get_args

from torch.utils.data import DataLoader, IterableDataset

from headwater.batches import (
    Batch,
    DataFingerprint,
    batch_size,
    check_ordered,
    fingerprint,
    select,
    tensors_of,
)

Check = Literal["ends", "all"]
"""What is compared where a loader comes back: the first and last sample, or all of them."""


class LoadedData:
    """The batches of a loader, in order, as often as they are asked for.

    The first iteration reads the loader, and keeps its batches if all of them fit into a budget of
    bytes. Later ones yield what is kept, or read the loader again and refuse it if it yields anything
    else. Batches without samples are left out. ValueError if it shuffles, or can be read only once.
    """

    def __init__(self, loader: Iterable[Batch], name: str, budget: int) -> None:
        check_ordered(loader, name)
        self.loader, self.name, self.budget = loader, name, budget
        self._head: list[Batch] = []
        self._mark: str | None = None  # of the first sample, before another batch was read
        self._opened: Iterator[Batch] | None = None
        self._seen: DataFingerprint | None = None
        self._kept: list[Batch] | None = None

    @classmethod
    def of(cls, loader: Iterable[Batch], name: str, budget: int) -> LoadedData:
        """Return the loader itself where it is one of these already."""
        return loader if isinstance(loader, LoadedData) else cls(loader, name, budget)

    @property
    def first(self) -> Batch:
        """The first batch; no other is read for it, and it is not read again."""
        for batch in self.head(1):
            return batch
        raise ValueError(f"{self.name} must yield batches, got none")

    def head(self, count: int) -> list[Batch]:
        """Return the first batches, of that many samples or all there are; they are read once."""
        while sum(map(batch_size, self._head)) < count:
            self._opened = self._rest()
            batch = next(self._opened, None)
            if batch is None:
                break
            if not self._head:
                self._mark = _sample([batch], 0)
            self._head.append(batch)
        return self._head

    @property
    def n(self) -> int:
        """The number of samples."""
        return self.finish().count

    @property
    def batches(self) -> int | None:
        """The number of batches, if the loader knows it."""
        return length_hint(self.loader) or None

    def __iter__(self) -> Iterator[Batch]:
        return self._read() if self._kept is None else iter(self._kept)

    def finish(self) -> DataFingerprint:
        """Read the loader, if nothing has done so yet; return what it is known by."""
        if self._seen is None:
            for _ in self:
                pass
        assert self._seen is not None
        return self._seen

    def return_to(self, loader: Iterable[Batch], check: Check) -> None:
        """Take a loader for the one that was read, once it is clear that it yields the same samples.

        "ends" looks at the first sample, and at the last one and the number of samples where these can
        be had without reading everything; "all" reads and compares everything. The batches may be
        others. ValueError if it yields other samples, or the check is an unknown one.
        """
        if check not in get_args(Check):
            raise ValueError(f"check must be one of {', '.join(get_args(Check))}, got {check!r}")
        check_ordered(loader, self.name)
        whole = self.finish()
        count, first, last, digest = (_ends if check == "ends" else _everything)(loader)
        if count not in (None, whole.count):
            raise self._changed(f"{count} samples (of {whole.count})")
        if first != whole.first:
            raise self._changed("another first sample")
        if last not in (None, whole.last):
            raise self._changed("another last sample")
        if digest not in (None, whole.hexdigest()):
            raise self._changed("another sample between them")
        self.loader = loader
        if self._kept is None:  # else it is not asked for anything
            self._head, self._opened = [], None

    def _read(self) -> Iterator[Batch]:
        seen, left = DataFingerprint(), self.budget
        kept: list[Batch] = []
        for batch in self._one_pass():
            seen.update(batch)
            left -= sum(t.nbytes for t in tensors_of(batch))
            if left < 0:
                kept.clear()
            else:
                kept.append(batch)
            yield batch
        if seen.first != self._mark or seen.first != _sample([self.first], 0):
            raise ValueError(
                f"{self.name} must yield batches with memory of their own, got a first batch that a "
                "later one has overwritten; yield copies"
            )
        if self._seen is not None and seen.hexdigest() != self._seen.hexdigest():
            raise self._changed("others when it was read again")
        self._seen, self._kept = seen, kept if left >= 0 else None

    def _one_pass(self) -> Iterator[Batch]:
        yield self.first
        yield from self._head[1:]
        rest, self._opened = self._rest(), None
        yield from rest

    def _rest(self) -> Iterator[Batch]:
        return self._opened or islice(_filled(self.loader), len(self._head), None)

    def _changed(self, what: str) -> ValueError:
        return ValueError(
            f"{self.name} must yield what cache has seen, in the same order, got {what}; call cache "
            "again, or turn off shuffling and augmentation"
        )


# The number of samples, the first and the last one, and all; None: not known without reading more.
_Found = tuple[int | None, str | None, str | None, str | None]


def _filled(loader: Iterable[Batch]) -> Iterator[Batch]:
    return (batch for batch in loader if batch_size(batch))


def _everything(loader: Iterable[Batch]) -> _Found:
    seen = DataFingerprint()
    for batch in loader:
        seen.update(batch)
    return seen.count, seen.first, seen.last, seen.hexdigest()


def _ends(loader: Iterable[Batch]) -> _Found:
    count = None
    if isinstance(loader, (list, tuple)):
        batches = list(_filled(loader))
        first, last, count = batches[:1], batches[-1:], sum(map(batch_size, batches))
    elif isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        places = list(loader.sampler if loader.batch_sampler is None else loader.batch_sampler)
        first, last = ([_fetched(loader, at) for at in end] for end in (places[:1], places[-1:]))
        if loader.batch_sampler is not None and first and batch_size(first[0]) == len(places[0]):
            count = sum(map(len, places))
    else:
        first, last = list(islice(_filled(loader), 1)), []
    return count, _sample(first, 0), _sample(last, -1), None


def _fetched(loader: DataLoader[Any], places: Any) -> Batch:
    data: Any = loader.dataset
    if loader.batch_sampler is None:
        return loader.collate_fn(data[places])
    if hasattr(data, "__getitems__"):
        return loader.collate_fn(data.__getitems__(places))
    return loader.collate_fn([data[place] for place in places])


def _sample(batches: list[Batch], row: int) -> str | None:
    for batch in batches:
        start = row % batch_size(batch)
        return fingerprint(select(batch, slice(start, start + 1)))
    return None
