"""What the samples of a setting are: how a file of one is read, and how one is shown in a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool2d

from headwater.benchmark.datasets import cifar, mnist, shakespeare
from headwater.benchmark.datasets.sequences import blocks
from headwater.benchmark.settings.setting import Setting

__all__ = ["Kind", "kind_of"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SHOWN = 60
"""Characters of a text that are shown."""

Read = Callable[[Path, tuple[int, ...]], tuple[Tensor, Tensor | None]]
Show = Callable[[Tensor, Tensor], str]


@dataclass(frozen=True)
class Kind:
    """A kind of samples.

    Args:
        suffixes: of the files that hold one sample.
        read: from a file and the shape of the setting's inputs to inputs (1, ...) and labels (1, ...),
            None where the file has none. ValueError if it is no such file.
        show: from an input and its label to what is shown of them.
        classes: the names of the labels; none: they are numbers, or have no names.
    """

    suffixes: tuple[str, ...]
    read: Read
    show: Show
    classes: tuple[str, ...] = ()


def kind_of(setting: Setting) -> Kind | None:
    """Return the kind of a setting's samples, by the data set that its name begins with, if known."""
    return _KINDS.get(setting.name.partition("-")[0])


def _read_mnist(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, None]:
    pixels = _pixels(path, "L", (28, 28))
    return mnist.normalise(pixels).reshape(1, *shape), None


def _read_cifar(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, None]:
    pixels = _pixels(path, "RGB", (32, 32)).transpose(2, 0, 1)
    image = cifar.normalise(np.ascontiguousarray(pixels))[None]
    return avg_pool2d(image, 32 // shape[-1]), None  # small settings have half the pixels


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            found = image.size
            pixels = np.array(image.convert(mode), dtype=np.uint8)
    except UnidentifiedImageError:
        raise ValueError(f"{path} must be an image, got another file: pass a PNG") from None
    if found != size:
        raise ValueError(
            f"{path} must have {size[0]} x {size[1]} pixels, as the training images, got {found[0]} x "
            f"{found[1]}: resize it first"
        )
    return pixels


def _read_text(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    characters = shakespeare.vocabulary(shakespeare.load_text())
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be a text in UTF-8, got other bytes: convert it") from None
    return _first_block(shakespeare.encode(text, characters), shape[0], path, "characters")


def _read_music(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    from headwater.benchmark.datasets.maestro import read_events

    return _first_block(read_events(path), shape[0], path, "events")


def _first_block(tokens: Tensor, length: int, path: Path, what: str) -> tuple[Tensor, Tensor]:
    """Return the first block, as samples of sequences are cut."""
    if len(tokens) < length + 1:
        raise ValueError(
            f"{path} must have at least {length + 1} {what}, a sample and what follows its last one, got "
            f"{len(tokens)}: pass a longer one"
        )
    return blocks(tokens[: length + 1], length)


def _show_text(inputs: Tensor, labels: Tensor) -> str:
    characters = shakespeare.vocabulary(shakespeare.load_text())
    text = " ".join(shakespeare.decode(inputs, characters).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _show_music(inputs: Tensor, labels: Tensor) -> str:
    from headwater.benchmark.datasets.events import decode_events

    notes = decode_events(inputs.tolist())
    names = [f"{PITCHES[note.pitch % 12]}{note.pitch // 12 - 1}" for note in notes]
    return f"{len(notes)} notes: {' '.join(names)}"[:SHOWN]


def _show_class(names: tuple[str, ...], inputs: Tensor, labels: Tensor) -> str:
    label = int(labels)
    return names[label] if label < len(names) else str(label)


def _images(read: Read, classes: tuple[str, ...] = ()) -> Kind:
    return Kind(IMAGES, read, partial(_show_class, classes), classes)


_KINDS = {
    "mnist": _images(_read_mnist),
    "cifar10": _images(_read_cifar, CIFAR),
    "cifar2": _images(_read_cifar, (CIFAR[cifar.CAT], CIFAR[cifar.DOG])),
    "shakespeare": Kind((".txt",), _read_text, _show_text),
    "maestro": Kind((".mid", ".midi"), _read_music, _show_music),
}
