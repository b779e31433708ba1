"""How the samples of the benchmark's settings look: a row for each data set.

No stage that trains imports this, so that a change of it makes no result again.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable

import torch
from torch import Tensor

from headwater.benchmark.datasets.events import decode_events
from headwater.explorer import Images, Kind, Music, Text

__all__ = ["APPEARANCES", "CLASSES", "appearance", "class_names", "data_set_of"]

MNIST = (-0.1307 / 0.3081, (1 - 0.1307) / 0.3081)
"""What 0 and 255 became."""
CHARACTERS = "".join(sorted("\n !$&',-.3:;?" + string.ascii_letters))
"""Of Tiny Shakespeare, the place of each is its number."""


def _mnist(inputs: Tensor) -> Kind:
    return Images(inputs.view(-1, 28, 28), *MNIST)


def _cifar(inputs: Tensor) -> Kind:
    return Images(inputs, -1, 1)


def _shakespeare(inputs: Tensor) -> Kind:
    return Text.of_tokens(inputs, CHARACTERS.__getitem__)


def _maestro(inputs: Tensor) -> Kind:
    return Music([decode_events(events) for events in inputs.tolist()])


APPEARANCES: dict[str, Callable[[Tensor], Kind]] = {
    "mnist": _mnist,
    "cifar2": _cifar,
    "cifar10": _cifar,
    "shakespeare": _shakespeare,
    "maestro": _maestro,
}
"""Data set -> how inputs (n, ...) look, as the settings have them."""

CLASSES = {
    "cifar2": ("cat", "dog"),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip
"""Data set -> names of its labels, where they are not numbers."""


def data_set_of(setting: str) -> str:
    """Return the data set of a setting: what its name starts with."""
    return setting.partition("-")[0]


def appearance(setting: str, inputs: Tensor) -> Kind:
    """Return inputs as something that can be shown; those of an unknown data set as their shape says.

    Images of an unknown data set are scaled to their extremes, and other numbers are written out.

    Args:
        setting: its name.
        inputs: (n, ...), as its data set gives them.
    """
    known = APPEARANCES.get(data_set_of(setting))
    if known is not None:
        return known(inputs)
    if inputs.ndim == 3 or (inputs.ndim == 4 and inputs.shape[1] in (1, 3)):
        low, high = float(inputs.min()), float(inputs.max())
        return Images(inputs, low, high if high > low else low + 1)
    return Text([_written(sample) for sample in inputs])


def class_names(setting: str, labels: Tensor) -> list[str] | None:
    """Return the names of the classes; None where there is not one label per sample."""
    if labels.ndim != 1:
        return None
    known = CLASSES.get(data_set_of(setting))
    return list(known) if known else [str(i) for i in range(int(labels.max()) + 1)]


def _written(sample: Tensor) -> str:
    values = sample.flatten()[:64].to(torch.float64).tolist()
    more = " …" if math.prod(sample.shape) > len(values) else ""
    return " ".join(f"{value:.3g}" for value in values) + more
