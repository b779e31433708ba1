"""Tiny Shakespeare as sequences of characters, each with the characters that follow."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.nets import Gpt
from headwater.benchmark.datasets.download import download_verified
from headwater.benchmark.datasets.samples import Samples

__all__ = ["find_text", "load_sequences", "sequences"]

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TRAIN_SHARE = 0.9


def find_text(downloads: Path) -> Path:
    """Return the path of the text: from the mirror, or downloaded and verified.

    A mirror is the folder `shakespeare` in $HEADWATER_DATA_MIRROR; its file is taken as it is.

    Args:
        downloads: folder of the downloaded file.

    Raises:
        FileNotFoundError: if the mirror lacks the file.
    """
    mirror = os.environ.get("HEADWATER_DATA_MIRROR")
    if not mirror:
        return download_verified(URL, downloads / "shakespeare" / "input.txt", SHA256)
    path = Path(mirror) / "shakespeare" / "input.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"$HEADWATER_DATA_MIRROR must hold shakespeare/input.txt, got {mirror} without it: "
            "correct or unset the variable"
        )
    return path


def sequences(text: str, length: int = Gpt.LENGTH) -> tuple[Tensor, Tensor]:
    """Return the characters of a text and those that follow each, int64 (n, length) both.

    A character's number is its place among all that the text has, in order.
    """
    numbers = {character: i for i, character in enumerate(sorted(set(text)))}
    codes = torch.from_numpy(np.array([numbers[character] for character in text]))
    n = (len(codes) - 1) // length
    return codes[: n * length].view(n, length), codes[1 : n * length + 1].view(n, length)


def load_sequences(data: Path) -> Samples:
    """Return the sequences of the first nine tenths of the text, and those of the rest.

    Args:
        data: folder whose `downloads` take the text where there is no mirror.
    """
    inputs, following = sequences(find_text(data / "downloads").read_text())
    cut = int(TRAIN_SHARE * len(inputs))
    return Samples(inputs[:cut], following[:cut], inputs[cut:], following[cut:])
