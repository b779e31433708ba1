"""Arrays as images: what they look like, and the bytes of a picture file."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_pixels", "data_uri", "encoded", "pillow"]

Pixels = NDArray[np.uint8]


def as_pixels(image: ArrayLike, low: float = 0.0, high: float = 1.0) -> Pixels:
    """Return one image, or several, as bytes: (…, H, W) grey or (…, H, W, 3) coloured.

    Channels may come first, as in PyTorch. Bytes are kept; other numbers are cut to [low, high].
    ValueError if the shape is not that of an image, or a number is not finite.

    Example:
        >>> as_pixels([[0.0, 0.5], [1.0, 2.0]]).tolist()
        [[0, 128], [255, 255]]
    """
    array = np.asarray(image)
    if array.ndim >= 3 and array.shape[-1] not in (1, 3) and array.shape[-3] in (1, 3):
        array = np.moveaxis(array, -3, -1)
    if array.ndim >= 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim < 2:
        raise ValueError(
            f"an image must be (H, W), (C, H, W) or (H, W, C), got {array.shape}: reshape it"
        )
    if array.dtype == np.uint8:
        return array
    if not np.isfinite(array).all():
        raise ValueError("pixels must be finite, got NaN or infinity: correct them")
    scaled = np.clip((array.astype(np.float32) - low) / (high - low), 0, 1)
    return np.asarray((scaled * 255).round(), dtype=np.uint8)


def encoded(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a picture file; ImportError where Pillow is not installed."""
    file = io.BytesIO()
    pillow().fromarray(np.ascontiguousarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def data_uri(pixels: Pixels) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(encoded(pixels)).decode("ascii")


def pillow() -> Any:
    """Return Pillow's `Image` module."""
    try:
        from PIL import Image  # noqa: PLC0415 - optional
    except ImportError:
        raise ImportError(
            "pictures need Pillow, got none: pip install 'headwater[explorer]'"
        ) from None
    return Image
