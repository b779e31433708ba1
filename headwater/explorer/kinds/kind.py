"""What a kind of samples offers, and which one fits plain arrays and lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headwater.pages import Files

__all__ = ["Kind", "kind_of"]


@runtime_checkable
class Kind(Protocol):
    """Samples that can be shown.

    `name` is that of the page's module, `kind_NAME.js`, which draws what `pack` returns.
    """

    name: str

    def __len__(self) -> int:
        """Return how many samples there are."""

    def pack(self, rows: NDArray[np.int64], files: Files, prefix: str) -> dict[str, Any]:
        """Return what the page needs to show these samples; large parts go into files named prefix…."""

    def describe(self, row: int) -> str:
        """Return a sample in words, for lists that hold text only."""


def kind_of(samples: Any) -> Kind:
    """Return samples as a kind: arrays of images, and lists of texts or of tokens, are known.

    Raises:
        ValueError: If they are anything else.
    """
    from headwater.explorer.kinds.images import Images  # noqa: PLC0415 - they import this module
    from headwater.explorer.kinds.text import Text  # noqa: PLC0415

    if isinstance(samples, Kind):
        return samples
    if hasattr(samples, "shape") and len(samples.shape) in (3, 4):
        return Images(samples)
    if isinstance(samples, Sequence) and len(samples):
        first = samples[0]
        if isinstance(first, str) or (
            isinstance(first, Sequence) and all(isinstance(token, str) for token in first)
        ):
            return Text(samples)
    got = f"shape {tuple(samples.shape)}" if hasattr(samples, "shape") else type(samples).__name__
    raise ValueError(
        "samples must be images (n, H, W) or (n, C, H, W), a list of texts or lists of tokens, or one of "
        f"Images, Text and Music of headwater.explorer, got {got}: choose one"
    )
