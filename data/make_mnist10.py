"""Build data/mnist10.npz from the official MNIST files: the first 5,000 + 500 samples.

Run `python data/make_mnist10.py` from the root of the repository. The files come from
$HEADWATER_DATA_MIRROR/mnist if that is set, else they are downloaded and verified.
"""

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headwater.benchmark.datasets.mnist import (
    ARRAY_CHECKSUMS,
    array_checksum,
    find_official,
    read_idx,
)

N_TRAIN = 5_000
N_TEST = 500


def read_arrays() -> dict[str, NDArray[np.uint8]]:
    """Return the four arrays of MNIST-10, in the order in which they are written."""
    train_images = read_idx(find_official("train-images-idx3-ubyte.gz"))[:N_TRAIN]
    train_labels = read_idx(find_official("train-labels-idx1-ubyte.gz"))[:N_TRAIN]
    test_images = read_idx(find_official("t10k-images-idx3-ubyte.gz"))[:N_TEST]
    test_labels = read_idx(find_official("t10k-labels-idx1-ubyte.gz"))[:N_TEST]
    return {
        "train_images": train_images.reshape(N_TRAIN, -1),
        "train_labels": train_labels,
        "test_images": test_images.reshape(N_TEST, -1),
        "test_labels": test_labels,
    }


def make_mnist10(path: Path) -> Path:
    """Write MNIST-10 to `path`; the same bytes on every run with the same zlib.

    Raises:
        ValueError: If an array differs from `ARRAY_CHECKSUMS`.
    """
    arrays = read_arrays()
    for name, array in arrays.items():
        if array_checksum(array) != ARRAY_CHECKSUMS[name]:
            raise ValueError(
                f"{name} must have sha256 {ARRAY_CHECKSUMS[name]}, got {array_checksum(array)}: "
                "use the official MNIST files"
            )
    partial = path.with_name(path.name + ".partial")
    try:
        # NumPy gives every entry of the archive the same date, 1980-01-01.
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    make_mnist10(Path(__file__).with_name("mnist10.npz"))
