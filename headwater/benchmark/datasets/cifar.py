"""CIFAR-10 in its official binary format, and CIFAR-2, its cats and dogs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.datasets.official import OfficialArchive, find_official
from headwater.benchmark.datasets.samples import Samples, first_samples

__all__ = [
    "ARCHIVE",
    "CAT",
    "DOG",
    "TEST_FILES",
    "TRAIN_FILES",
    "load_cifar2",
    "load_cifar10",
    "normalise",
    "read_records",
]

ARCHIVE = OfficialArchive(
    data_set="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
TRAIN_FILES = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)]
TEST_FILES = ["cifar-10-batches-bin/test_batch.bin"]
CAT, DOG = 3, 5

_CLASSES = 10
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32


def read_records(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a file of records: one byte with the label, then 3,072 with the pixels.

    Returns:
        Images (n, 3, 32, 32), as red, green and blue planes, and labels (n,).

    Raises:
        ValueError: If the last record is cut off, there is none, or a label is not below 10.
    """
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % _RECORD:
        raise ValueError(
            f"{path.name} must hold whole records of {_RECORD} bytes, got {len(content)} bytes: "
            "fetch the file again"
        )
    records = content.reshape(-1, _RECORD)
    labels = records[:, 0]
    if labels.max() >= _CLASSES:
        raise ValueError(
            f"{path.name} must hold labels 0 … {_CLASSES - 1}, got {labels.max()}: fetch the file again"
        )
    return records[:, 1:].reshape(-1, *_SHAPE), labels


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """Return (x/255 - 0.5) / 0.5 in float32, same shape as the images."""
    pixels = torch.from_numpy(images.astype(np.float32)) / 255.0
    return (pixels - 0.5) / 0.5


def load_cifar10(
    data: Path = Path("data"), *, n_train: int | None = None, n_test: int | None = None
) -> Samples:
    """Return CIFAR-10 in file order: float32 images (n, 3, 32, 32) and labels 0 … 9.

    Args:
        data: folder whose `downloads` take the official archive where there is no mirror.
        n_train: how many train samples, the first ones; None for all.
        n_test: how many test samples, the first ones; None for all.

    Raises:
        ValueError: If there are fewer samples, or a file is not in the official format.
        FileNotFoundError: If the mirror lacks a file.
    """
    return _load("cifar10", tuple(range(_CLASSES)), data, n_train, n_test)


def load_cifar2(
    data: Path = Path("data"), *, n_train: int | None = None, n_test: int | None = None
) -> Samples:
    """Return the cats (label 0) and dogs (label 1) of CIFAR-10 in file order, as `load_cifar10`.

    A mirror has them in its folder `cifar2`, in files of the same names; whether other classes are in
    them too makes no difference, but their order does: which samples are the first is up to it.

    Args:
        data: folder whose `downloads` take the official archive where there is no mirror.
        n_train: how many train samples, the first ones; None for all, 10,000.
        n_test: how many test samples, the first ones; None for all, 2,000.

    Raises:
        ValueError: If there are fewer samples, or a file is not in the official format.
        FileNotFoundError: If the mirror lacks a file.
    """
    return _load("cifar2", (CAT, DOG), data, n_train, n_test)


def _load(
    name: str, classes: tuple[int, ...], data: Path, n_train: int | None, n_test: int | None
) -> Samples:
    def batches(files: list[str]) -> Iterator[tuple[Tensor, Tensor]]:
        for file in files:
            yield _batch(find_official(name, file, ARCHIVE, data / "downloads"), classes)

    return Samples(
        *first_samples(batches(TRAIN_FILES), n_train, "n_train"),
        *first_samples(batches(TEST_FILES), n_test, "n_test"),
    )


def _batch(path: Path, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the images of some classes in one file; a label is the place of its class."""
    images, labels = read_records(path)
    kept = np.isin(labels, classes)
    return normalise(images[kept]), torch.from_numpy(np.searchsorted(classes, labels[kept]))
