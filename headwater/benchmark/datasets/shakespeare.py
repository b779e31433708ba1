"""Tiny Shakespeare: the characters of his plays as blocks, each with the characters that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwater.benchmark.datasets.download import file_checksum
from headwater.benchmark.datasets.samples import Samples, first_samples
from headwater.benchmark.datasets.sequences import blocks

__all__ = [
    "CHECKSUM",
    "OFFICIAL_URL",
    "decode",
    "encode",
    "load_samples",
    "load_text",
    "vocabulary",
]

OFFICIAL_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
CHECKSUM = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def load_text(path: Path = Path("data/shakespeare.txt")) -> str:
    """Read the text and verify its bytes against `CHECKSUM`.

    Raises:
        ValueError: If the file has other bytes.
        FileNotFoundError: If there is no such file.
    """
    found = file_checksum(path)
    if found != CHECKSUM:
        raise ValueError(
            f"{path} must have sha256 {CHECKSUM}, got {found}: restore the file from {OFFICIAL_URL}"
        )
    return path.read_bytes().decode("ascii")


def vocabulary(text: str) -> str:
    """Return the characters of a text, each once and in order; the place of each is its number."""
    return "".join(sorted(set(text)))


def encode(text: str, characters: str) -> Tensor:
    """Return the number of each character, int64 (N,).

    Raises:
        ValueError: If a character is not in the vocabulary.

    Example:
        >>> encode("cab", "abc"), decode(encode("cab", "abc"), "abc")
        (tensor([2, 0, 1]), 'cab')
    """
    codes, known = (
        np.frombuffer(string.encode("utf-32-le"), dtype="<u4") for string in (text, characters)
    )
    places = np.searchsorted(known, codes)
    if not np.isin(codes, known).all():
        unknown = "".join(sorted(set(text) - set(characters)))
        raise ValueError(
            f"the text must have characters of the vocabulary, got {unknown!r}: drop it"
        )
    return torch.from_numpy(places)


def decode(numbers: Tensor, characters: str) -> str:
    """Return the text that `encode` gave these numbers (N,)."""
    return "".join(characters[i] for i in numbers.tolist())


def load_samples(
    data: Path = Path("data"),
    *,
    length: int = 256,
    n_train: int | None = None,
    n_test: int | None = None,
) -> Samples:
    """Return the blocks of the first nine tenths of the text, and those of the rest.

    Inputs and labels are int64 (n, length) numbers of the 65 characters in the whole text; labels are
    the next characters. Blocks do not overlap, and come in the order of the text.

    Args:
        data: folder that holds `shakespeare.txt`.
        length: characters of a block.
        n_train: how many train samples, the first ones; None for all, 3,921 of length 256.
        n_test: how many test samples, the first ones; None for all, 435 of length 256.

    Raises:
        ValueError: If the text has other bytes, or there are fewer samples.
        FileNotFoundError: If there is no text.
    """
    text = load_text(data / "shakespeare.txt")
    codes = encode(text, vocabulary(text))
    cut = len(codes) * 9 // 10
    return Samples(
        *first_samples([blocks(codes[:cut], length)], n_train, "n_train"),
        *first_samples([blocks(codes[cut:], length)], n_test, "n_test"),
    )
