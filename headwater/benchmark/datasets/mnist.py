"""MNIST: the official IDX files, and MNIST-10, the part of them that the benchmark uses."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.datasets import official
from headwater.benchmark.datasets.official import OfficialFile
from headwater.benchmark.datasets.samples import Samples

__all__ = [
    "ARRAY_CHECKSUMS",
    "MEAN",
    "OFFICIAL_CHECKSUMS",
    "OFFICIAL_URL",
    "STANDARD_DEVIATION",
    "Mnist10",
    "array_checksum",
    "find_official",
    "load_mnist10",
    "load_samples",
    "normalise",
    "read_idx",
]

OFFICIAL_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
OFFICIAL_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
# sha256 of the bytes of each array of MNIST-10.
ARRAY_CHECKSUMS = {
    "train_images": "a853ca5da5c224d531837eaa3fe56ac036778bb2fdfad445143b5b7d4ec1c739",
    "train_labels": "4263f048ea43702387ef1c8494b59e785853c0410e9770600d50f541a6fee264",
    "test_images": "6e96778c418dfcfff0dcfdbcb4af54d86e5c54326bf5e7ead99cf94b6434a405",
    "test_labels": "8f1017277349b4d0cf35af1d8eb881a016da52d52204bee2d89c22930be2e9a2",
}
# Mean and standard deviation of all 60,000 training images, pixels in [0, 1].
MEAN = 0.1307
STANDARD_DEVIATION = 0.3081

_UNSIGNED_BYTE = 0x08


@dataclass(frozen=True)
class Mnist10:
    """The first 5,000 training and the first 500 test samples of MNIST.

    Args:
        train_images: uint8 (5000, 784).
        train_labels: uint8 (5000,).
        test_images: uint8 (500, 784).
        test_labels: uint8 (500,).
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzip-compressed IDX file of unsigned bytes.

    Returns:
        uint8 array with the shape that the header gives.

    Raises:
        ValueError: If the header or the length is not that of such a file.
    """
    with gzip.open(path, "rb") as file:
        content = file.read()
    n_dimensions = content[3] if len(content) >= 4 else 0
    header = 4 + 4 * n_dimensions
    shape = tuple(int(n) for n in np.frombuffer(content[4:header], dtype=">u4"))
    if (
        content[:3] != bytes([0, 0, _UNSIGNED_BYTE])
        or len(shape) != n_dimensions
        or len(content) - header != np.prod(shape, dtype=np.int64)
    ):
        raise ValueError(
            f"{path.name} must be an IDX file of unsigned bytes, got {len(content)} bytes that "
            f"start with {content[:4].hex()}: fetch the file again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def find_official(name: str, downloads: Path = Path("data/downloads")) -> Path:
    """Return the path of an official file: from the mirror, or downloaded and verified.

    A mirror is the folder `mnist` in $HEADWATER_DATA_MIRROR; its files are taken as they are.

    Args:
        name: File name, one of `OFFICIAL_CHECKSUMS`.
        downloads: Folder of all downloads; these go to `mnist` in it.

    Raises:
        ValueError: If the name is unknown, or a download has the wrong checksum.
        FileNotFoundError: If the mirror lacks the file.
    """
    if name not in OFFICIAL_CHECKSUMS:
        known = ", ".join(OFFICIAL_CHECKSUMS)
        raise ValueError(f"name must be one of {known}, got {name!r}: correct the name")
    source = OfficialFile("mnist", OFFICIAL_URL + name, OFFICIAL_CHECKSUMS[name])
    return official.find_official("mnist", name, source, downloads)


def array_checksum(array: NDArray[np.uint8]) -> str:
    """Return the sha256 of an array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def load_mnist10(path: Path = Path("data/mnist10.npz")) -> Mnist10:
    """Read MNIST-10 and verify every array against `ARRAY_CHECKSUMS`.

    Raises:
        ValueError: If an array is missing or has other bytes.
        FileNotFoundError: If there is no such file.
    """
    arrays = {}
    with np.load(path, allow_pickle=False) as archive:
        for name, expected in ARRAY_CHECKSUMS.items():
            found = array_checksum(archive[name]) if name in archive else "no such array"
            if found != expected:
                raise ValueError(
                    f"{name} of {path} must have sha256 {expected}, got {found}: "
                    "restore the file, or rebuild it with data/make_mnist10.py"
                )
            arrays[name] = archive[name]
    return Mnist10(**arrays)


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """Return (x/255 - 0.1307) / 0.3081 in float32, same shape as the images."""
    pixels = torch.from_numpy(images.astype(np.float32)) / 255.0
    return (pixels - MEAN) / STANDARD_DEVIATION


def load_samples(data: Path = Path("data")) -> Samples:
    """Return MNIST-10 as normalised float32 rows and int64 labels.

    Args:
        data: Folder that holds `mnist10.npz`.
    """
    mnist = load_mnist10(data / "mnist10.npz")
    return Samples(
        train_inputs=normalise(mnist.train_images),
        train_labels=torch.from_numpy(mnist.train_labels.astype(np.int64)),
        test_inputs=normalise(mnist.test_images),
        test_labels=torch.from_numpy(mnist.test_labels.astype(np.int64)),
    )
