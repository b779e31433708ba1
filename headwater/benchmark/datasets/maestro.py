"""MAESTRO v2.0.0: piano performances as windows of events, each with the events that follow."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from headwater.benchmark.datasets.events import END, encode_notes
from headwater.benchmark.datasets.midi import read_notes
from headwater.benchmark.datasets.official import OfficialArchive, find_official
from headwater.benchmark.datasets.samples import Samples, first_samples
from headwater.benchmark.datasets.sequences import blocks

__all__ = ["ARCHIVE", "SPLITS", "load_samples", "load_windows", "read_events", "read_splits"]

ARCHIVE = OfficialArchive(
    data_set="maestro",
    url="https://storage.googleapis.com/magentadata/datasets/maestro/v2.0.0/maestro-v2.0.0-midi.zip",
    sha256="ec2cc9d94886c6b376db1eaa2b8ad1ce62ff9f0a28b3744782b13163295dadf3",
)
SPLITS = ("train", "validation", "test")

_FOLDER = "maestro-v2.0.0"
_TABLE = f"{_FOLDER}/maestro-v2.0.0.csv"


def read_splits(path: Path) -> dict[str, list[str]]:
    """Return the performances of each official split, sorted by name.

    Args:
        path: the official table, with columns `split` and `midi_filename`.

    Raises:
        ValueError: If a column is missing, or a split has another name.
    """
    files: dict[str, list[str]] = {split: [] for split in SPLITS}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            split, name = row.get("split"), row.get("midi_filename")
            if split not in files or not name:
                raise ValueError(
                    f"{path.name} must give each performance a midi_filename and one split of "
                    f"{', '.join(SPLITS)}, got {name!r} and {split!r}: fetch the official table"
                )
            files[split].append(name)
    return {split: sorted(names) for split, names in files.items()}


def read_events(path: Path) -> Tensor:
    """Return the events of one performance and END, int64 (N,); pedals are in its notes."""
    return torch.tensor([*encode_notes(read_notes(path)), END])


def load_windows(
    data: Path, split: str, *, length: int = 256, n: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return windows of one split: inputs and labels, int64 (n, length) both.

    Performances come in the order of their names, and the windows of each in the order of time; windows
    do not overlap, and labels are the next events. The last window of a performance is dropped
    where it is shorter than length events with all their labels: so no sample has padding, all
    losses are means over as many places, and END is a label only where it fills a window.

    Args:
        data: folder whose `downloads` take the official archive where there is no mirror.
        split: one of `SPLITS`.
        length: events of a window.
        n: how many windows, the first ones; None for all. No more files are read than that needs.

    Raises:
        ValueError: If there are fewer windows, or a file is not in its format.
        FileNotFoundError: If the mirror lacks a file.
    """
    if split not in SPLITS:
        raise ValueError(
            f"split must be one of {', '.join(SPLITS)}, got {split!r}: correct the name"
        )
    downloads = data / "downloads"
    names = read_splits(find_official("maestro", _TABLE, ARCHIVE, downloads))[split]

    def performances() -> Iterator[tuple[Tensor, Tensor]]:
        for name in names:
            path = find_official("maestro", f"{_FOLDER}/{name}", ARCHIVE, downloads)
            yield blocks(read_events(path), length)

    return first_samples(performances(), n, f"n of split {split}")


def load_samples(
    data: Path = Path("data"),
    *,
    length: int = 256,
    n_train: int | None = None,
    n_test: int | None = None,
) -> Samples:
    """Return the windows of the official train and test splits, as `load_windows` makes them.

    Args:
        data: folder whose `downloads` take the official archive where there is no mirror.
        length: events of a window.
        n_train: how many train windows, the first ones; None for all.
        n_test: how many test windows, the first ones; None for all.

    Raises:
        ValueError: If there are fewer windows, or a file is not in its format.
        FileNotFoundError: If the mirror lacks a file.
    """
    return Samples(
        *load_windows(data, "train", length=length, n=n_train),
        *load_windows(data, "test", length=length, n=n_test),
    )
