"""Images, packed as sheets of tiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.pages import Files
from headwater.pictures import as_pixels, encoded, pillow

__all__ = ["Images"]

LARGEST = 64
TILES = 1024
"""Of one sheet: browsers refuse pictures of more than some ten thousand pixels a side."""


class Images:
    """Images (n, H, W), (n, C, H, W) or (n, H, W, C), grey or in three colours.

    Images with more than 64 pixels a side are shown smaller.

    Args:
        images: bytes, or numbers in [low, high].
        low: what is shown black.
        high: what is shown white.
    """

    name = "images"

    def __init__(self, images: Any, low: float = 0.0, high: float = 1.0) -> None:
        if hasattr(images, "detach"):  # a tensor
            images = images.detach().cpu().numpy()
        if (low, high) == (0.0, 1.0):  # nobody said what is black and white
            _check_range(images)
        self._pixels = as_pixels(images, low, high)
        if self._pixels.ndim != 4 and not (self._pixels.ndim == 3 and len(images.shape) != 2):
            raise ValueError(
                f"images must be (n, H, W) or (n, C, H, W), got {tuple(images.shape)}: add an axis"
            )

    def __len__(self) -> int:
        return len(self._pixels)

    def pack(self, rows: NDArray[np.int64], files: Files, prefix: str) -> dict[str, Any]:
        """Return the size of a tile, and sheets of up to 1,024 of them: grey as PNG, coloured as WebP."""
        pixels = self._shrunk(rows)
        height, width = pixels.shape[1:3]
        across = min(32, max(1, len(pixels)))
        sheets = []
        for number, start in enumerate(range(0, len(pixels), TILES)):
            sheet = _tiled(pixels[start : start + TILES], across)
            grey = sheet.ndim == 2
            content = (
                encoded(sheet, "PNG", optimize=True)
                if grey
                else encoded(sheet, "WEBP", quality=80, method=4)
            )
            name = files.add_picture(f"{prefix}.{number}", content)
            rows_of_sheet = math.ceil(min(TILES, len(pixels) - start) / across)
            sheets.append(
                {"file": name, "type": "image/png" if grey else "image/webp", "rows": rows_of_sheet}
            )
        return {
            "width": width,
            "height": height,
            "across": across,
            "tiles": TILES,
            "sheets": sheets,
        }

    def describe(self, row: int) -> str:
        """Return the size of an image."""
        height, width = self._pixels.shape[1:3]
        return f"image, {width} x {height} pixels"

    def _shrunk(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        pixels = self._pixels[rows]
        height, width = pixels.shape[1:3]
        largest = max(height, width)
        if largest <= LARGEST or not len(rows):
            return pixels
        size = (max(1, width * LARGEST // largest), max(1, height * LARGEST // largest))
        image = pillow()
        return np.stack([np.asarray(image.fromarray(p).resize(size)) for p in pixels])


def _check_range(images: Any) -> None:
    """Refuse what looks like the inputs of a model, with mean and deviation taken out."""
    array = np.asarray(images)
    if array.dtype == np.uint8 or not array.size:
        return
    least, most = float(array.min()), float(array.max())
    if least < -0.01 or most > 1.01:
        raise ValueError(
            f"images must be bytes, or numbers from 0 to 1, got {least:.3g} to {most:.3g}: undo the "
            "normalisation, or say Images(images, low=..., high=...)"
        )


def _tiled(pixels: NDArray[np.uint8], across: int) -> NDArray[np.uint8]:
    """Return tiles (n, H, W, …) side by side, `across` in each row."""
    down = math.ceil(len(pixels) / across)
    height, width, *colours = pixels.shape[1:]
    sheet = np.zeros((down * across, height, width, *colours), np.uint8)
    sheet[: len(pixels)] = pixels
    rows = sheet.reshape(down, across, height, width, *colours).swapaxes(1, 2)
    return rows.reshape(down * height, across * width, *colours)
